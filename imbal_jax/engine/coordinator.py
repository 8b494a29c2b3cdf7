"""What processes tell one another through the coordinator that JAX starts in process 0; no device is touched."""

import json
from typing import Any

PREFIX = "imbal_jax"
SLICE_MS = 10_000  # of a wait, between two looks at signals


def _state() -> Any:
    # the coordinator's store has no public name; Orbax takes it from here, too
    from jax._src import distributed

    return distributed.global_state


def count() -> int:
    """How many processes run this program; 1 without ``jax.distributed``. Touches no device."""
    state = _state()
    return int(state.num_processes) if state.client is not None else 1


def index() -> int:
    """The number of this process, from 0. Touches no device."""
    state = _state()
    return int(state.process_id) if state.client is not None else 0


def address() -> str:
    """HOST:PORT of process 0."""
    return str(_state().coordinator_address)


def as_text(value: Any) -> str:
    """``value`` as JSON."""
    return json.dumps(value, default=lambda number: number.item())  # of numpy


def tell(key: str, text: str) -> None:
    """Set a key; RuntimeError where it is set already, or the coordinator is gone."""
    _state().client.key_value_set(f"{PREFIX}/{key}", text)


def wait_for(key: str) -> str:
    """The text of a key that another process sets, which may take as long as reading a data set takes."""
    while True:
        try:
            return _state().client.blocking_key_value_get(f"{PREFIX}/{key}", SLICE_MS)
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def told(key: str) -> str:
    """The text of a key, "" where it is not set or the coordinator is gone."""
    try:
        return _state().client.key_value_try_get(f"{PREFIX}/{key}")
    except (RuntimeError, AttributeError):
        return ""


def below(folder: str) -> list[str]:
    """The texts of the keys FOLDER/..."""
    return [text for _, text in _state().client.key_value_dir_get(f"{PREFIX}/{folder}/")]


def forget(key: str) -> None:
    """Delete a key."""
    _state().client.key_value_delete(f"{PREFIX}/{key}")
