"""Several processes, one program: the first decides and writes, and all of them follow.

Every process runs the same Python program on its own devices. Whatever depends on a clock, a disk, a signal or a user
is asked of process 0 alone and sent to the others (``from_first``), so that all take the same steps. Messages go
through the coordinator that JAX starts in process 0, and wait for no device.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import jax

from imbal_jax.engine.lifeline import Line, Listener
from imbal_jax.errors import InputError, Stopped, Terminated

T = TypeVar("T")
P = ParamSpec("P")

PREFIX = "imbal_jax"
GATHER_SECONDS = 1800
"""How long a process waits for the coordinator. A cluster may start the processes of a job minutes apart."""
HEARTBEAT_SECONDS = 40
"""After this long without a heartbeat a process counts as dead, and JAX ends the others."""
POLL_SECONDS = 1.0
SLICE_MS = 10_000  # of a wait, between two looks at signals
LINGER_SECONDS = 3.0  # the coordinator ends with process 0: the others read its last message first
KEPT = 1000  # messages: no process is as far behind, as every training step waits for all of them
STATUSES = {kind.status: kind for kind in (InputError, Stopped, Terminated)}


class _Talk:
    """The number of messages so far, equal in all processes, and the thread that hears of failures elsewhere."""

    sent = 0
    flagged = False
    ending = threading.Event()
    line: Listener | Line | None = None
    released: list[Callable[[], object]] = []  # noqa: RUF012
    listener: threading.Thread | None = None


def _state() -> Any:
    from jax._src import (
        distributed,
    )  # the coordinator's store has no public name; Orbax takes it from here, too

    return distributed.global_state


def count() -> int:
    """How many processes run this program; 1 without ``jax.distributed``. Touches no device."""
    state = _state()
    return int(state.num_processes) if state.client is not None else 1


def index() -> int:
    """The number of this process, from 0. Touches no device."""
    state = _state()
    return int(state.process_id) if state.client is not None else 0


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
            f"--distributed: JAX finds no cluster here ({_first_line(error)}): start it with srun or mpirun, or give "
            "--coordinator HOST:PORT --process I --processes N"
        ) from error
    except RuntimeError as error:
        raise Stopped(
            f"process {process if process is not None else '?'} cannot join the others at "
            f"{coordinator or 'the coordinator'}: {_first_line(error)}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # JAX notes a SIGTERM and does nothing; here a run stops at its next dispatch, and anything else at once
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if count() > 1:
        _connect()
        sys.excepthook = _fallen
        _Talk.listener = threading.Thread(target=_listen, daemon=True)
        _Talk.listener.start()


def _connect() -> None:
    """Hold a connection to the first process, which has one to all."""
    if is_first():
        _Talk.line = listener = Listener(_lost)
        _set(f"{PREFIX}/port", str(listener.port))
        return
    port, address = int(_wait(f"{PREFIX}/port")), _state().coordinator_address
    with suppress(OSError):  # a firewall
        _Talk.line = Line(address.rpartition(":")[0].strip("[]"), port, index(), _lost)


def _lost(process: int) -> None:
    """End this process and all others, as ``process`` has ended without a message."""
    if _Talk.ending.is_set():
        return
    message = (
        f"process {process} has ended (it was killed, or its machine is lost); what was saved is whole: start all "
        "processes again with the same command to continue"
    )
    if process == 0:  # and with it the coordinator, for which JAX is about to abort this process, too
        _end(message, 1)
    if told := cause(2.0):
        _end(told, _failure().get("status", 1))
    fail(1, message)


def from_first(decide: Callable[[], T]) -> T:
    """``decide()`` of process 0, in every process; an InputError that it raises there is raised in all.

    The value has to survive JSON: numbers, text, lists, mappings of text, None. Every process calls this the same
    number of times, in the same order.
    """
    if count() == 1:
        return decide()
    number = _Talk.sent
    _Talk.sent += 1
    key = f"{PREFIX}/said/{number}"
    if is_first():
        try:
            value = decide()
            said = _text({"value": value})
        except InputError as error:
            _set(key, _text({"error": str(error), "status": error.status}))
            raise
        _set(key, said)
        if number >= KEPT:
            _state().client.key_value_delete(f"{PREFIX}/said/{number - KEPT}")
        return value
    heard = json.loads(_wait(key))
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
    key = f"{PREFIX}/gathered/{_Talk.sent}"
    if not is_first():
        _set(f"{key}/{index()}", _text(value))

    def collected() -> list[Any]:
        return [value, *(json.loads(_wait(f"{key}/{k}")) for k in range(1, count()))]

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
    """``text`` of a process that gives one, in every process; "" where none does. To be called as ``from_first``."""
    if count() == 1:
        return text
    announce(text)
    return from_first(lambda: heard(text))


def announce(text: str) -> None:
    """Let process 0 know of a text that is not empty, such as the name of a signal."""
    if text and not is_first() and not _Talk.flagged:
        _Talk.flagged = True
        _set(f"{PREFIX}/flags/{index()}", text)


def heard(text: str) -> str:
    """In process 0: its own text, or one that another process announced."""
    if text or count() == 1:
        return text
    others = _state().client.key_value_dir_get(f"{PREFIX}/flags/")
    return others[0][1] if others else ""


def fail(status: int, message: str) -> None:
    """End this process at once, and let all others end with the same message; returns where there are none.

    The usual end waits for all processes, which wait for this one. The message is printed once where all fail alike.
    """
    if count() == 1:
        return
    _leave()
    here = {"process": index(), "host": socket.gethostname(), "status": status, "message": message}
    try:
        _set(f"{PREFIX}/failed", _text(here))
        before = ""
    except RuntimeError:  # another one was first, or the coordinator is gone
        before = _failure().get("message", "")
    if is_first() or message != before:
        print(f"imbal-jax: {message}", file=sys.stderr)
    if is_first():
        time.sleep(LINGER_SECONDS)
    _exit(status)


def _fallen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a Python program does with an error that nobody catches, and the end of all processes."""
    sys.__excepthook__(kind, error, trace)
    fail(getattr(error, "status", 1), _first_line(error))


def at_failure(release: Callable[[], object]) -> None:
    """Call ``release`` where this process ends at once for a failure elsewhere, and ``finally`` is not reached."""
    _Talk.released.append(release)


def cause(patience: float = 5.0) -> str:
    """The message of the process that failed first, "" if none is heard of; this process may have failed for that."""
    for _ in range(max(1, round(patience / POLL_SECONDS))):
        if failed := _failure():
            return _told(failed)
        time.sleep(POLL_SECONDS)
    return ""


def finish() -> None:
    """Stop listening, before the process ends well."""
    _leave()
    if _Talk.listener is not None:
        _Talk.listener.join()
        _Talk.listener = None


def _listen() -> None:
    """End this process when another one has failed: its collective operations would wait for ever."""
    while not _Talk.ending.wait(POLL_SECONDS):
        failed = _failure()
        if failed and not _Talk.ending.is_set():
            _end(_told(failed), failed["status"])


def _end(message: str, status: int) -> None:
    """End this process for the failure of another one."""
    _leave()
    print(f"imbal-jax: {message}", file=sys.stderr)
    if is_first():
        time.sleep(LINGER_SECONDS)
    _exit(status)


def _leave() -> None:
    _Talk.ending.set()
    if _Talk.line is not None:
        _Talk.line.leave()


def _told(failed: dict[str, Any]) -> str:
    return (
        f"process {index()} ends because process {failed['process']} on {failed['host']} has failed: "
        f"{failed['message']}"
    )


def _failure() -> dict[str, Any]:
    try:
        return json.loads(_state().client.key_value_try_get(f"{PREFIX}/failed"))
    except (RuntimeError, AttributeError):  # not there, or the connection is closed
        return {}


def _exit(status: int) -> None:
    for release in _Talk.released:
        with suppress(OSError):
            release()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _text(value: Any) -> str:
    return json.dumps(value, default=lambda number: number.item())  # of numpy


def _set(key: str, value: str) -> None:
    _state().client.key_value_set(key, value)


def _wait(key: str) -> str:
    """The value of a key that another process sets, which may take as long as reading a data set takes."""
    while True:
        try:
            return _state().client.blocking_key_value_get(key, SLICE_MS)
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
