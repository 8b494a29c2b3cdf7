"""How several processes end together: the failure of one is heard by all, with its message and its exit status."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from imbal_jax.engine.coordinator import address, as_text, count, index, tell, told, wait_for
from imbal_jax.engine.lifeline import Line, Listener

POLL_SECONDS = 1.0
LINGER_SECONDS = 3.0  # the coordinator ends with process 0: the others read its last message first


class _End:
    """Connections and threads that say when this process has to end."""

    ending = threading.Event()
    line: Listener | Line | None = None
    listener: threading.Thread | None = None
    released: list[Callable[[], object]] = []  # noqa: RUF012


def watch() -> None:
    """End this process, from now on, when another one fails or is gone; and all, for an error that nobody catches."""
    _connect()
    sys.excepthook = _fallen
    _End.listener = threading.Thread(target=_listen, daemon=True)
    _End.listener.start()


def _connect() -> None:
    """Hold a connection to the first process, which has one to all."""
    if index() == 0:
        _End.line = listener = Listener(_lost)
        tell("port", str(listener.port))
        return
    port, host = int(wait_for("port")), address().rpartition(":")[0].strip("[]")
    with suppress(OSError):  # a firewall
        _End.line = Line(host, port, index(), _lost)


def _lost(process: int) -> None:
    """End this process and all others, as ``process`` has ended without a message."""
    if _End.ending.is_set():
        return
    message = (
        f"process {process} has ended (it was killed, or its machine is lost); what was saved is whole: start all "
        "processes again with the same command to continue"
    )
    if process == 0:  # and with it the coordinator, for which JAX is about to abort this process, too
        _end(message, 1)
    if words := cause(2.0):
        _end(words, _failure().get("status", 1))
    fail(1, message)


def fail(status: int, message: str) -> None:
    """End this process at once, and let all others end with the same message; returns where there are none.

    The usual end waits for all processes, which wait for this one. The message is printed once where all fail alike.
    """
    if count() == 1:
        return
    _leave()
    here = {"process": index(), "host": socket.gethostname(), "status": status, "message": message}
    try:
        tell("failed", as_text(here))
        before = ""
    except RuntimeError:  # another one was first, or the coordinator is gone
        before = _failure().get("message", "")
    if index() == 0 or message != before:
        print(f"imbal-jax: {message}", file=sys.stderr)
    if index() == 0:
        time.sleep(LINGER_SECONDS)
    _exit(status)


def _fallen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a Python program does with an error that nobody catches, and the end of all processes."""
    sys.__excepthook__(kind, error, trace)
    fail(getattr(error, "status", 1), (str(error).strip() or kind.__name__).splitlines()[0])


def at_failure(release: Callable[[], object]) -> None:
    """Call ``release`` where this process ends at once for a failure elsewhere, and ``finally`` is not reached."""
    _End.released.append(release)


def cause(patience: float = 5.0) -> str:
    """The message of the process that failed first, "" if none is heard of; this process may have failed for that."""
    for _ in range(max(1, round(patience / POLL_SECONDS))):
        if failed := _failure():
            return _words_of(failed)
        time.sleep(POLL_SECONDS)
    return ""


def finish() -> None:
    """Stop listening, before the process ends well."""
    _leave()
    if _End.listener is not None:
        _End.listener.join()
        _End.listener = None


def _listen() -> None:
    """End this process when another one has failed: its collective operations would wait for ever."""
    while not _End.ending.wait(POLL_SECONDS):
        failed = _failure()
        if failed and not _End.ending.is_set():
            _end(_words_of(failed), failed["status"])


def _end(message: str, status: int) -> None:
    """End this process for the failure of another one."""
    _leave()
    print(f"imbal-jax: {message}", file=sys.stderr)
    if index() == 0:
        time.sleep(LINGER_SECONDS)
    _exit(status)


def _leave() -> None:
    _End.ending.set()
    if _End.line is not None:
        _End.line.leave()


def _words_of(failed: dict[str, Any]) -> str:
    return (
        f"process {index()} ends because process {failed['process']} on {failed['host']} has failed: "
        f"{failed['message']}"
    )


def _failure() -> dict[str, Any]:
    return json.loads(told("failed") or "{}")


def _exit(status: int) -> None:
    for release in _End.released:
        with suppress(OSError):
            release()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
