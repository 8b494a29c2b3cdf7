"""The lock of a workdir: one process at a time trains or evaluates there."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from imbal_jax.engine import failures, hosts
from imbal_jax.errors import InputError
from imbal_jax.files import cannot_write

FILE = "lock.json"
_held: set[str] = set()  # held by this process: the system lets a process lock its own file again


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold ``workdir`` while the block runs; the folder is made where it is absent.

    ``lock.json`` names the process and its host, and the system locks it. That lock ends with the process, so a
    file that a killed process of this host left is taken over, and so is that of an earlier start of this SLURM job.
    Another host's is not, since locks may not reach from host to host. Of several processes of one training the first
    holds it for all, which have to see the same folder. Raises InputError, which names process and host, where
    another process holds the workdir.
    """
    with ExitStack() as held:
        hosts.by_first(lambda: held.enter_context(_locked(workdir)))
        _check_shared(workdir)
        yield


def _check_shared(workdir: Path) -> None:
    seen = hosts.gathered([(workdir / FILE).exists(), socket.gethostname()])
    for process, (there, host) in enumerate(seen):
        if not there:
            raise InputError(
                f"process {process} on {host} does not see what process 0 on {seen[0][1]} writes to {workdir}: "
                "choose a --workdir that all of them share"
            )


@contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    path = workdir / FILE
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path)
    except OSError as error:
        raise cannot_write(workdir, error) from None
    failures.at_failure(lambda: path.unlink() if os.path.realpath(path) in _held else None)
    try:
        yield
    finally:
        _held.discard(os.path.realpath(path))
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquire(path: Path) -> int:
    """A handle of the locked file, which holds our name."""
    if os.path.realpath(path) in _held:
        raise _busy(path, _owner())
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _read(handle)
            os.close(handle)
            raise _busy(path, owner) from None
        if _is(path, handle):
            break
        os.close(handle)  # its owner has just deleted it
    owner = _read(handle)
    if owner.get("host", socket.gethostname()) != socket.gethostname() and not _queued_again(owner):
        os.close(handle)
        raise _busy(path, owner)
    os.ftruncate(handle, 0)
    os.pwrite(handle, (json.dumps(_owner()) + "\n").encode(), 0)
    _held.add(os.path.realpath(path))
    return handle


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _owner() -> dict[str, Any]:
    start = os.environ.get("SLURM_RESTART_COUNT", "")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "start": int(start) if start.isdecimal() else 0,
    }


def _queued_again(owner: dict[str, Any]) -> bool:
    """Whether the owner was an earlier start of this SLURM job, which has ended where a later one runs."""
    here = _owner()
    same_job = here["job"] is not None and owner.get("job") == here["job"]
    return same_job and isinstance(owner.get("start"), int) and owner["start"] < here["start"]


def _read(handle: int) -> dict[str, Any]:
    """Who holds or held the lock; empty where the file does not say."""
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _busy(path: Path, owner: dict[str, Any]) -> InputError:
    who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
    return InputError(
        f"{path.parent} is in use by {who}: wait until it ends, or choose another --workdir; if that process is no "
        f"longer there, delete {path}"
    )
