"""Dispatches one after the other: what is recorded of each, and the speed that is shown and paced by."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from imbal_jax.config import Config, Train
from imbal_jax.training import loop
from imbal_jax.training.stopping import Pace, StopRequest


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Late(NamedTuple):
    """A number that is there at a time, and is waited for by whoever reads it."""

    value: float
    there_at: float
    clock: Clock

    def is_ready(self) -> bool:
        return self.clock.now >= self.there_at

    def __float__(self) -> float:
        self.clock.now = max(self.clock.now, self.there_at)
        return self.value


class State(NamedTuple):
    step: int = 0
    skipped_in_row: int = 0


class Shown:
    """What a tracker was given."""

    def __init__(self) -> None:
        self.speeds: list[float] = []
        self.steps: list[int] = []
        self.recorded: list[int] = []

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        self.recorded.append(step)

    def progress(self, step: int, *, loss: float, images_per_second: float) -> None:
        self.steps.append(step)
        self.speeds.append(images_per_second)

    def message(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    monkeypatch.setattr(loop, "time", time)
    return time


def trained(
    clock: Clock, waits: Callable[[int], bool], *, most: int = 10, seconds: float = 0.5
) -> tuple[Shown, Pace]:
    """400 steps of so many seconds on one device, ``most`` a dispatch. waits: whether the call of a dispatch, by its
    number, returns only when the device is done with it."""
    shown, pace, calls, free = Shown(), Pace(most, 0), [0], [0.0]

    def advance(state: State, steps: int) -> tuple[State, dict[str, Any], int]:
        free[0] = max(free[0], clock.now) + seconds * steps
        calls[0] += 1
        if waits(calls[0]):
            clock.now = free[0]
        metrics = {"loss": Late(1.0, free[0], clock), "skipped": 0.0}
        return State(state.step + steps), metrics, steps

    train_until: Any = loop.train_until
    config = Config(name="folder", train=Train(batch_size=16))
    with StopRequest() as stop:
        state = train_until(400, State(), advance, config, shown, pace=pace, stop=stop)
    assert state.step == 400
    assert clock.now == pytest.approx(400 * seconds)
    return shown, pace


@pytest.mark.parametrize(
    "waits",
    [
        pytest.param(lambda call: True, id="as on a CPU"),
        pytest.param(lambda call: False, id="as on an accelerator"),
        pytest.param(lambda call: call > 1, id="all but the first"),
        pytest.param(lambda call: call % 2 == 0, id="every other"),
        pytest.param(lambda call: call % 3 == 0, id="every third"),
    ],
)
def test_the_speed_is_the_devices_whenever_a_call_returns(clock: Clock, waits: Callable[[int], bool]) -> None:
    shown, pace = trained(clock, waits)
    np.testing.assert_allclose(shown.speeds, 16 / 0.5)
    assert shown.recorded == list(range(10, 401, 10)), "each dispatch once, in order"
    assert shown.steps[-1] == 400
    assert pace.steps == 10


def test_slow_steps_shorten_a_dispatch_though_the_first_calls_did_not_wait(clock: Clock) -> None:
    """One that was timed as if it took no time would leave all later ones too long to be stopped between."""
    _, pace = trained(clock, lambda call: call > 2, most=100, seconds=1.0)
    assert pace.steps == 10, "a second each, ten seconds in all"
