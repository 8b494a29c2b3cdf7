"""Checkpoints on disk: the latest two and the best one, written by Orbax, checked when read back."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from imbal_jax.errors import InputError, Stopped
from imbal_jax.state import TrainState

LATEST = 2  # the one before the last is what a corrupt last one falls back to


@dataclass(frozen=True)
class _LatestAndBest:
    """Keeps the latest two and the best; of equally good ones the earliest, as selection.py chooses."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        steps = sorted(info.step for info in checkpoints)
        scores = {info.step: _score(info.metrics) for info in checkpoints}
        best = max(steps, key=lambda step: (scores[step], -step)) if steps else None
        return [info.step in steps[-LATEST:] or info.step == best for info in checkpoints]


def _score(metrics: Any) -> float:
    return float(metrics["selection"]) if metrics else -np.inf


class Checkpoints:
    """The checkpoints of one run under ``folder``.

    ``save`` and ``restore`` raise InputError, in one line with the remedy, when the disk is full or nothing can
    be read; ``say`` is told of a checkpoint that had to be passed over.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = print) -> None:
        logging.getLogger("absl").setLevel(
            logging.ERROR
        )  # Orbax's own notices, and the stack of an error we report
        self.folder = Path(folder).absolute()
        self.say = say
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    best_fn=lambda metrics: metrics["selection"],
                    best_mode="max",
                    preservation_policy=_LatestAndBest(),
                    enable_async_checkpointing=False,
                ),
            )
        except OSError as error:
            raise InputError(f"cannot write checkpoints under {self.folder}: {_reason(error)}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, selection: float) -> None:
        """Write ``state`` with its value of the selection criterion; older ones go only when it is complete."""
        step = int(state.step)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_plain(state)),
                    digest=ocp.args.JsonSave({"blake2b": digest(state)}),
                ),
                metrics={"selection": float(selection)},
            )
            self._manager.wait_until_finished()
        except Exception as error:
            kept = [s for s in self.steps() if s != step]
            last = f"the checkpoint of step {kept[-1]} is whole" if kept else "there is no earlier checkpoint"
            raise Stopped(
                f"cannot write the checkpoint of step {step} under {self.folder}: {_reason(error)}; {last}: "
                "free space and run the same command to continue"
            ) from error

    def restore(self, like: TrainState, step: int | None = None) -> TrainState | None:
        """The state saved at ``step``, or at the latest step that can be read; None where there is none.

        like: a fresh state whose shapes and shardings the result takes. A checkpoint that cannot be read, or whose
        content is not what was saved, is reported and removed, and the one before it is tried.
        """
        steps = [s for s in reversed(self.steps()) if step is None or s == step]
        for candidate in steps:
            try:
                return self._read(like, candidate)
            except Exception as error:
                if step is not None:
                    raise InputError(f"the checkpoint of step {step} is damaged: {_reason(error)}") from error
                earlier = [s for s in steps if s < candidate]
                then = f"going on from step {earlier[0]}" if earlier else "starting again from step 0"
                self.say(f"the checkpoint of step {candidate} is damaged ({_reason(error)}); {then}")
                self._manager.delete(candidate)
        if step is not None:
            raise InputError(
                f"no checkpoint of step {step} under {self.folder}: there are {self.steps() or 'none'}"
            )
        return None

    def _read(self, like: TrainState, step: int) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(like))
        read = self._manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), digest=ocp.args.JsonRestore()),
        )
        plain = _plain(like)  # Orbax gives optimiser states back as plain tuples
        state = like.replace(**jax.tree.unflatten(jax.tree.structure(plain), jax.tree.leaves(read["state"])))
        if digest(state) != read["digest"]["blake2b"]:
            raise ValueError("its content differs from what was saved")
        return state


def _plain(state: TrainState) -> dict[str, Any]:
    """All but the key, which the seed determines, and an average that is not kept."""
    left_out = {"rng"} | ({"ema_params"} if state.ema_params is None else set())
    return {name: value for name, value in vars(state).items() if name not in left_out}


def digest(state: TrainState) -> str:
    """A checksum of every number in the state (all but the key)."""
    total = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(_plain(state)):
        array = np.asarray(leaf)
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _reason(error: BaseException) -> str:
    """What the operating system or the storage layer said, without its stack of wrappers."""
    text = str(error) or type(error).__name__
    known = (
        "No space left on device",
        "File too large",
        "Permission denied",
        "Read-only file system",
        "Disk quota",
    )
    for phrase in known:
        if phrase.lower() in text.lower():
            return phrase
    first = text.strip().splitlines()[0]
    return first if len(first) <= 160 else first[:157] + "..."
