"""Several processes, one program: the first decides and writes, and all of them follow.

Every process runs the same Python program on its own devices. Whatever depends on a clock, a disk, a signal or a user
is asked of process 0 alone and sent to the others (``from_first``), so that all take the same steps. Messages go
through the coordinator that JAX starts in process 0, and wait for no device.
"""

import json
import signal
import socket
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax

from imbal_jax.engine import failures
from imbal_jax.engine.coordinator import as_text, below, count, forget, index, tell, wait_for
from imbal_jax.errors import InputError, Stopped, Terminated, first_line

T = TypeVar("T")
P = ParamSpec("P")

GATHER_SECONDS = 1800
"""How long a process waits for the coordinator. A cluster may start the processes of a job minutes apart."""
HEARTBEAT_SECONDS = 40
"""After this long without a heartbeat a process counts as dead, and JAX ends the others."""
KEPT = 1000  # messages: no process is as far behind, as every training step waits for all of them
STATUSES = {kind.status: kind for kind in (InputError, Stopped, Terminated)}

_sent = 0  # messages so far, as many in every process
_announced = False


def is_first() -> bool:
    """Whether this process decides and writes."""
    return index() == 0


def start(coordinator: str | None = None, process: int | None = None, processes: int | None = None) -> None:
    """Join the other processes, before any device is touched; what is None, JAX finds out from the cluster.

    coordinator: HOST:PORT of process 0. Raises InputError where no cluster is found, Stopped where process 0 is not.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes=processes,
            process_id=process,
            initialization_timeout=GATHER_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise InputError(
            f"--distributed: JAX finds no cluster here ({first_line(error)}): start it with srun or mpirun, or give "
            "--coordinator HOST:PORT --process I --processes N"
        ) from error
    except RuntimeError as error:
        raise Stopped(
            f"process {process if process is not None else '?'} cannot join the others at "
            f"{coordinator or 'the coordinator'}: {first_line(error)}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # JAX notes a SIGTERM and does nothing; here a run stops at its next dispatch, and anything else at once
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if count() > 1:
        failures.watch()


def from_first(decide: Callable[[], T]) -> T:
    """``decide()`` of process 0, in every process; an InputError that it raises there is raised in all.

    The value has to survive JSON: numbers, text, lists, mappings of text, None. Every process calls this the same
    number of times, in the same order.
    """
    if count() == 1:
        return decide()
    global _sent
    number, _sent = _sent, _sent + 1
    key = f"said/{number}"
    if is_first():
        try:
            value = decide()
            said = as_text({"value": value})
        except InputError as error:
            tell(key, as_text({"error": str(error), "status": error.status}))
            raise
        tell(key, said)
        if number >= KEPT:
            forget(f"said/{number - KEPT}")
        return value
    heard = json.loads(wait_for(key))
    if "error" in heard:
        raise STATUSES.get(heard["status"], InputError)(heard["error"])
    return heard["value"]


def by_first(act: Callable[[], object]) -> None:
    """``act()`` in process 0 alone; the others wait for it, and raise the InputError that it raises."""

    def done() -> None:
        act()

    from_first(done)


def first_only(act: Callable[P, object]) -> Callable[P, None]:
    """``act`` as ``by_first`` calls it: what writes files of a run, or refuses those that are there."""

    @wraps(act)
    def of_first(*args: P.args, **kwargs: P.kwargs) -> None:
        by_first(lambda: act(*args, **kwargs))

    return of_first


def first_then_others(make: Callable[[], T]) -> T:
    """``make()`` in process 0, then in the others: what it leaves on disk, such as a cache, is made once."""
    made: list[T] = []
    by_first(lambda: made.append(make()))
    return made[0] if made else make()


def gathered(value: Any) -> list[Any]:
    """``value`` of every process, in their order, in every process."""
    if count() == 1:
        return [value]
    key = f"gathered/{_sent}"
    if not is_first():
        tell(f"{key}/{index()}", as_text(value))

    def collected() -> list[Any]:
        return [value, *(json.loads(wait_for(f"{key}/{k}")) for k in range(1, count()))]

    return from_first(collected)


def check_same(what: str, digest: Callable[[], Any], remedy: str) -> None:
    """InputError, in every process, unless all give the same digest, a value as ``from_first`` takes."""
    if count() == 1:
        return
    found = gathered([digest(), socket.gethostname()])
    for k, (other, host) in enumerate(found):
        if other != found[0][0]:
            raise InputError(
                f"process {k} on {host} has another {what} than process 0 on {found[0][1]}: {remedy}"
            )


def flagged(text: str) -> str:
    """``text`` of a process that gives one, in every process; "" where none does. To be called as ``from_first``.

    The first process does not wait for the others: what they say is heard by this call or by a later one.
    """
    if count() == 1:
        return text
    announce(text)
    return from_first(lambda: heard(text))


def announce(text: str) -> None:
    """Let process 0 know of a text that is not empty, such as the name of a signal."""
    global _announced
    if text and not is_first() and not _announced:
        _announced = True
        tell(f"flags/{index()}", text)


def heard(text: str) -> str:
    """In process 0: its own text, or one that another process announced."""
    if text or count() == 1:
        return text
    others = below("flags")
    return others[0] if others else ""
