"""Records the arrays of a run's state and the length of its training, so that it is resumed with the same."""

from pathlib import Path
from typing import Any

import jax

from imbal_jax.engine import hosts
from imbal_jax.errors import InputError
from imbal_jax.files import present, read_json, write_json
from imbal_jax.runs.checkpoints_held import run_holds_checkpoints
from imbal_jax.runs.config_difference import differing_values

FILE = "training.json"


@hosts.first_only
def claim_training(folder: Path, state: Any, total_steps: int) -> None:
    """Write down what the checkpoints under ``folder`` hold; InputError where those that are there hold other things.

    state: a pytree of arrays, as it is saved. A run is never resumed with a network, an optimiser or a length that
    is not the one that it began with.
    """
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {list(leaf.shape)}"
        for path, leaf in leaves
        if hasattr(leaf, "dtype")
    }
    here = {"steps": total_steps, "arrays": arrays}
    path = folder / FILE
    if run_holds_checkpoints(folder) and present(path):
        there = read_json(path, "choose another --workdir")
        differing = differing_values(there, here)
        if differing:
            name, (before, now) = next(iter(differing.items()))
            raise InputError(
                f"{folder} holds checkpoints of another training ({name.removeprefix('arrays.')} is "
                f"{before or 'absent'} there and {now or 'absent'} here): choose "
                "another --workdir; nothing was changed"
            )
        return
    write_json(path, here)
