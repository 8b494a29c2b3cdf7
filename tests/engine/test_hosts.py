"""What process 0 decides every process hears; a failure of one ends all, with its message and status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from two_processes import Ended, begun_as_two, ended

from imbal_jax.engine import failures, hosts
from imbal_jax.errors import InputError, Terminated


def test_one_process_decides_alone() -> None:
    assert (hosts.count(), hosts.index(), hosts.is_first()) == (1, 0, True)
    marker = object()
    assert hosts.from_first(lambda: marker) is marker, "not even its type changes"
    assert hosts.gathered(3) == [3]
    assert hosts.first_then_others(lambda: marker) is marker
    assert hosts.flagged("SIGTERM") == "SIGTERM"
    hosts.check_same("number", lambda: 1, "never asked")
    failures.fail(1, "there is nobody else, and it returns")


def test_what_only_the_first_does_keeps_its_name_and_returns_nothing() -> None:
    done = []

    @hosts.first_only
    def write(value: int) -> int:
        """Writes."""
        done.append(value)
        return value

    assert write(3) is None  # type: ignore[func-returns-value]
    assert (done, write.__name__, write.__doc__) == ([3], "write", "Writes.")


def talk(port: str, process: int, how: str) -> dict[str, object]:
    """What this process hears in a conversation of two."""
    hosts.start(f"localhost:{port}", process, 2)
    heard: dict[str, object] = {"first": hosts.is_first(), "index": hosts.index()}
    heard["value"] = hosts.from_first(lambda: {"nan": float("nan"), "one": 1, "from": process})
    heard["gathered"] = hosts.gathered([process])
    heard["nobody"] = hosts.flagged("")
    order: list[int] = []
    heard["made"] = hosts.first_then_others(lambda: order.append(process) or process)
    heard["acted"] = order
    for kind, error in (("input", InputError("wrong")), ("terminated", Terminated("stopped"))):

        def refuse(error: InputError = error) -> None:
            raise error

        try:
            hosts.by_first(refuse)
        except InputError as caught:
            heard[kind] = [type(caught).__name__, str(caught), caught.status]
    try:
        hosts.check_same("data set", lambda: process, "give both the same")
    except InputError as caught:
        heard["differs"] = str(caught)
    for _ in range(1000):  # in this call or a later one, the same in both
        heard["flagged"] = hosts.flagged("SIGUSR1" if process == 1 else "")
        if heard["flagged"]:
            break
    for number in range(hosts.KEPT + 5):  # old messages are deleted
        assert hosts.from_first(lambda number=number: number) == number
    print(json.dumps(heard), flush=True)
    if how == f"fail{process}":
        failures.fail(2, "this one failed")
    if how.startswith("fail"):
        hosts.from_first(lambda: __import__("time").sleep(60))
    failures.finish()
    return heard


def conversation(how: str) -> list[Ended]:
    here = "import sys; sys.path[:0] = sys.argv[1].split(); import test_hosts; test_hosts.main(*sys.argv[2:])"
    path = f"{Path(__file__).parent} {Path(__file__).parents[1]}"
    return ended(begun_as_two(how, command=(sys.executable, "-c", here, path)))


def main(how: str, *words: str) -> None:
    given = dict(zip(words[::2], words[1::2], strict=True))
    talk(given["--coordinator"].rpartition(":")[2], int(given["--process"]), how)


def test_two_processes_hear_the_first_and_raise_what_it_raises() -> None:
    both = conversation("well")
    assert [process.status for process in both] == [0, 0], both[0].err + both[1].err
    for number, process in enumerate(both):
        heard = json.loads(process.out.splitlines()[-1])
        assert (heard["first"], heard["index"]) == (number == 0, number)
        assert str(heard["value"].pop("nan")) == "nan"
        assert heard["value"] == {"one": 1, "from": 0}
        assert heard["gathered"] == [[0], [1]]
        assert (heard["nobody"], heard["flagged"]) == ("", "SIGUSR1")
        assert (heard["made"], heard["acted"]) == (number, [number])
        assert heard["input"] == ["InputError", "wrong", 2]
        assert heard["terminated"] == ["Terminated", "stopped", 143]
        assert "process 1 on" in heard["differs"]
        assert "has another data set than process 0" in heard["differs"]
        assert "give both the same" in heard["differs"]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_of_one_ends_both_with_its_message_and_its_status(failing: int) -> None:
    both = conversation(f"fail{failing}")
    assert [process.status for process in both] == [2, 2]
    assert both[failing].err.splitlines()[-1] == "imbal-jax: this one failed"
    other = both[1 - failing].err
    assert f"process {1 - failing} ends because process {failing} on" in other
    assert "has failed: this one failed" in other


def test_without_a_cluster_the_remedy_is_named() -> None:
    code = "from imbal_jax.engine import hosts; hosts.start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "JAX finds no cluster here" in done.stderr
    assert "--coordinator HOST:PORT --process I --processes N" in done.stderr
