"""When a run stops between two dispatches, how long these are, and when it saves."""

import os
import signal
import threading
import time

import pytest

from imbal_jax.errors import Terminated
from imbal_jax.training import stopping
from imbal_jax.training.stopping import SIGNALS, Pace, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handler_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop
        assert stop.reason == f"stopped by {number.name}"
    assert signal.getsignal(number) is before


def test_another_thread_installs_no_handler() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


def test_slow_steps_are_fewer_in_a_dispatch_and_the_compilation_does_not_count() -> None:
    pace = Pace(100, 0)
    assert pace.steps == 100
    pace.took(100, 500.0)  # compiles
    assert pace.steps == 100
    pace.took(100, 5.0)
    assert pace.steps == 100, "five seconds are not too long"
    slow = Pace(100, 0)
    slow.took(100, 1.0)
    slow.took(100, 50.0)
    assert slow.steps == 20, "half a second each, ten seconds in all"
    slow.took(20, 600.0)
    assert slow.steps == 20, "a dispatch that was disturbed does not count"
    slowest = Pace(100, 0)
    slowest.took(1, 1.0)
    slowest.took(1, 30.0)
    assert slowest.steps == 1


def test_a_save_is_due_after_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    pace, never = Pace(10, 2.0), Pace(10, 0)
    now[0] = 119.0
    assert not pace.save_due
    now[0] = 120.0
    assert pace.save_due
    assert not never.save_due
    pace.saved()
    assert not pace.save_due


def test_a_signal_ends_a_block_at_once_even_where_every_exception_is_caught() -> None:
    done = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("not ended")
        except Exception:
            done.append("caught")

    with StopRequest() as stop:
        with (
            pytest.raises(Terminated, match="stopped by SIGTERM; write it again"),
            stop.at_once("write it again"),
        ):
            work()
        os.kill(os.getpid(), signal.SIGTERM)  # noted, as before
        time.sleep(0.01)
        with pytest.raises(Terminated, match="stopped by SIGTERM"), stop.at_once("write it again"):
            done.append("begun after a signal")
    assert done == []


def test_a_block_without_a_signal_leaves_the_handlers_as_they_were() -> None:
    with StopRequest() as stop:
        before = signal.getsignal(signal.SIGTERM)
        with stop.at_once("never said"):
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) == before
        assert not stop
