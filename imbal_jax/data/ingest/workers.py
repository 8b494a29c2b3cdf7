"""Processes that read files, each into its own segment, and are replaced when a file crashes one."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.ingest.journal import Place, Read, Segment
from imbal_jax.data.ingest.reading import Job, Task, read_file
from imbal_jax.data.pseudonyms import read_key
from imbal_jax.errors import Stopped

AHEAD = 2  # tasks queued for a worker, so that it never waits for the next
ATTEMPTS = 2
DEATHS = 20  # consecutive processes that ended without a result: a single file cannot be the cause
START_SECONDS = 120.0
# glibc returns large arrays to the system at once and maps them again, page by page, for the next file, which costs a
# third more processor time. Once an array of this size, the largest that counts, was freed, it keeps smaller ones.
KEPT = 2**25 - 2**16

Found = Callable[[Task, Read, Place | None], None]


def serve(tasks: Connection, job: Job, journal: Path) -> None:
    """Read what comes until the other end closes, as it also does when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    np.empty(KEPT, np.uint8)
    key, segment = read_key(job.key_file), Segment(journal)
    tasks.send("ready")
    with quiet():
        while True:
            try:
                task = tasks.recv()
            except (EOFError, OSError):
                return
            read, picture = read_file(job, task, key)
            try:
                tasks.send((read, segment.append(read, picture)))
            except BrokenPipeError:
                return
            except OSError as error:
                tasks.send(OSError(error.errno, os.strerror(error.errno or errno.EIO)))
                return


@contextmanager
def interrupted_after() -> Iterator[None]:
    """An interruption (SIGINT) that comes meanwhile takes effect at the end; in the main thread, to which they come.

    Amid the start of a process it would leave that half started, with a traceback of its own, or be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if came and callable(before):
        before(*came[0])


class Worker:
    """One process and its unfinished tasks; the first is the one in progress."""

    def __init__(self, job: Job, journal: Path) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(method)  # typeshed gives the base class no Process
        if method == "forkserver":
            context.set_forkserver_preload(["imbal_jax.data.ingest.workers"])
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, job, journal), daemon=True)
        with interrupted_after():
            self.process.start()
        theirs.close()
        self.given: deque[Task] = deque()
        self.since = time.monotonic()
        self.ready = False

    def give(self, task: Task) -> None:
        if not self.given:
            self.since = time.monotonic()
        self.given.append(task)
        with suppress(OSError):  # it has ended, which is noticed where answers are taken
            self.pipe.send(task)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def read_files(
    job: Job, tasks: Sequence[Task], journal: Path, *, workers: int, seconds: float, found: Found
) -> None:
    """Read ``tasks`` and call ``found`` for each as it is done, in no order.

    seconds: of one file, after which its process is ended. A file that ends its process, or is ended, twice is
    refused as "crashed" or "timed-out"; everything else that the process had been given is read by another.
    Raises OSError where the journal cannot be written, Stopped where no process can be started.
    """
    waiting, attempts, deaths = deque(tasks), Counter[Task](), 0
    running: list[Worker] = []
    refusals: Segment | None = None
    try:
        while waiting or any(worker.given for worker in running):
            while waiting and len(running) < min(workers, len(waiting) + len(running)):
                running.append(Worker(job, journal))
            for worker in running:
                while worker.ready and waiting and len(worker.given) < AHEAD:
                    worker.give(waiting.popleft())
            wait([end for worker in running for end in (worker.pipe, worker.process.sentinel)], timeout=1.0)
            for worker in list(running):
                left = len(worker.given)
                over = worker.ready and bool(worker.given) and time.monotonic() - worker.since > seconds
                alive = not over and answered(worker, found)
                deaths = 0 if len(worker.given) < left else deaths
                if alive:
                    continue
                deaths += 1
                if deaths > DEATHS:
                    raise Stopped(
                        f"{DEATHS} processes in a row ended without having read a file: too little memory?"
                    )
                if not worker.ready:
                    raise Stopped(
                        "the processes that read files cannot be started: "
                        "in a script, call ingest under if __name__ == '__main__'"
                    )
                running.remove(worker)
                worker.end()
                if not worker.given:
                    continue
                culprit = worker.given.popleft()
                waiting.extendleft(reversed(worker.given))
                attempts[culprit] += 1
                if attempts[culprit] < ATTEMPTS:
                    waiting.appendleft(culprit)
                else:
                    refusals = refusals or Segment(journal)
                    read = given_up(job, culprit, "timed-out" if over else "crashed")
                    found(culprit, read, refusals.append(read, None))
    finally:
        for worker in running:
            worker.end()
        if refusals is not None:
            refusals.close()


def answered(worker: Worker, found: Found) -> bool:
    """Collect all available results; False when the process has ended."""
    try:
        while worker.pipe.poll():
            answer = worker.pipe.recv()
            if answer == "ready":
                worker.ready = True
            elif isinstance(answer, OSError):
                raise answer
            else:
                found(worker.given.popleft(), *answer)
            worker.since = time.monotonic()
    except (EOFError, ConnectionResetError):
        return False
    starting = time.monotonic() - worker.since < START_SECONDS
    return worker.process.is_alive() and (worker.ready or starting)


def given_up(job: Job, task: Task, reason: str) -> Read:
    name = read_key(job.key_file).of("file", task.path)
    try:
        about = (job.folder / task.path).stat()
    except OSError:
        return Read(name, reason="missing")
    return Read(name, about.st_size, about.st_mtime_ns, reason=reason)
