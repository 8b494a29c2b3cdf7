"""Update steps: one dispatch after the other, the metrics of each read while the next one runs."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from imbal_jax.config import Config
from imbal_jax.engine.state import TrainState
from imbal_jax.errors import Stopped
from imbal_jax.training.stage import Advance
from imbal_jax.training.stopping import Pace, StopRequest, next_turn
from imbal_jax.training.tracking import Tracker


class Dispatch(NamedTuple):
    """A dispatch in flight; ``at`` is the step after it. metrics, skipped_in_row: may not be computed yet."""

    at: int
    steps: int
    metrics: Mapping[str, Any]
    skipped_in_row: Any


def train_until(
    target: int,
    state: TrainState,
    advance: Advance,
    config: Config,
    tracker: Tracker,
    *,
    pace: Pace,
    stop: StopRequest,
) -> TrainState:
    """Take steps to ``target``, or to an earlier one where a stop is requested or a save is due.

    Metrics are read one dispatch late, so that a device with resident data stays busy; streaming waits for each
    dispatch. Too many updates without a finite loss therefore stop the run (Stopped) one dispatch later.
    """
    at, flying = int(state.step), list[Dispatch]()
    began, turn = time.monotonic(), next_turn(pace, stop)
    while at < target:
        state, metrics, steps = advance(state, min(turn.steps, target - at))
        at += steps
        # a copy, because the next dispatch is given the state's own buffer
        flying.append(Dispatch(at, steps, metrics, jnp.copy(state.skipped_in_row)))
        # what the call itself computed, as on a CPU, is read now: later its time would be that of more than itself
        waiting = 0 if _is_there(flying[-1]) else 1
        ended, flying = flying[: len(flying) - waiting], flying[len(flying) - waiting :]
        began = _record(ended, began, config, tracker, pace)
        turn = next_turn(pace, stop)
        if turn.ends:
            break
    _record(flying, began, config, tracker, pace)
    return state


def _is_there(sent: Dispatch) -> bool:
    """Whether its metrics can be read without waiting."""
    return all(getattr(value, "is_ready", lambda: True)() for value in sent.metrics.values())


def _record(ended: Sequence[Dispatch], began: float, config: Config, tracker: Tracker, pace: Pace) -> float:
    """Record the metrics of dispatches that began at ``began``; returns the time at which they were available.

    Of two that ended in the same call, only the time of both is known.
    """
    if not ended:
        return began
    found = [{name: float(value) for name, value in sent.metrics.items()} for sent in ended]
    now = time.monotonic()
    seconds, steps = max(now - began, 1e-9), sum(sent.steps for sent in ended)
    pace.took(steps, seconds)
    for sent, values in zip(ended, found, strict=True):
        tracker.train(sent.at, values)
        _stop_without_finite_loss(sent, values, config, tracker)
    tracker.progress(
        ended[-1].at, loss=found[-1]["loss"], images_per_second=steps * config.train.batch_size / seconds
    )
    return now


def _stop_without_finite_loss(
    sent: Dispatch, values: Mapping[str, float], config: Config, tracker: Tracker
) -> None:
    in_row = int(sent.skipped_in_row) if values["skipped"] else 0
    if math.isnan(values["loss"]) and values["skipped"] == sent.steps and in_row <= sent.steps:
        tracker.message(f"step {sent.at}: no update of this dispatch had a finite loss and gradient")
    if in_row >= config.train.max_nonfinite:
        raise Stopped(
            f"{in_row} updates in a row had no finite loss or gradient (step {sent.at}): stopped; "
            "lower --optim.learning-rate, or set --optim.clip-norm, and start in a new --workdir"
        )
