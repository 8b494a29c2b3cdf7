"""The evaluations of a run, and the checkpoint that they choose, also where files were lost."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.selection import best_step
from imbal_jax.engine import hosts
from imbal_jax.engine.state import TrainState
from imbal_jax.errors import Stopped
from imbal_jax.files import DamagedError
from imbal_jax.training.checkpoint import Checkpoints
from imbal_jax.training.second_stage import still_falling
from imbal_jax.training.tracking import HISTORY, read_history

Say = Callable[[str], None]


def validation_history(folder: Path, checkpoints: Checkpoints, start: int, say: Say) -> list[dict[str, Any]]:
    """The evaluations up to step ``start``, as the checkpoint there holds them."""
    saved = checkpoints.history(start) if start in checkpoints.steps() else []
    kept = ("kind", "best")
    recorded = [
        {name: value for name, value in record.items() if name not in kept}
        for record in read_history(folder)
        if record["kind"] == "validation"
    ]
    if saved != recorded and hosts.is_first():
        say(
            f"{HISTORY} was shortened or changed: it has {len(recorded)} of the {len(saved)} evaluations up to step "
            f"{start}, or other values; the best checkpoint is chosen by those that the checkpoint holds"
        )
    return [{name: np.nan if value is None else value for name, value in record.items()} for record in saved]


def restore_best(
    checkpoints: Checkpoints,
    like: TrainState,
    history: Sequence[Mapping[str, Any]],
    criterion: Criterion,
    say: Say,
) -> tuple[int, TrainState]:
    """The best step and its state; where its checkpoint is damaged or gone, the best of those that are left."""
    best = best_step(history, criterion)
    while True:
        try:
            if best in checkpoints.steps():
                return best, checkpoints.restore_step(like, best)
            lost = f"the checkpoint of step {best} is gone"
        except DamagedError as error:
            lost = f"{error}; {checkpoints.set_aside(best)}"
        there = checkpoints.steps()
        left = [record for record in history if record["step"] in there]
        if not left:
            raise Stopped(f"{lost}, and no other is left: run the same command in a new --workdir")
        best = best_step(left, criterion)
        say(f"{lost}; the best of the checkpoints that are left is taken, step {best}")


def loss_still_falls(folder: Path) -> bool:
    """Whether the training loss of the run still fell at its end (``second_stage.still_falling``)."""
    records = [record for record in read_history(folder) if record["kind"] == "train"]
    losses = [np.nan if record["loss"] is None else record["loss"] for record in records]
    return still_falling([record["step"] for record in records], losses)
