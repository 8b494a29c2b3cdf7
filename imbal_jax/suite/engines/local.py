"""The local engine: worker processes on this machine, which are replaced where a run ends one."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from imbal_jax.errors import Stopped, Terminated
from imbal_jax.suite.definition import SuiteAddress
from imbal_jax.suite.engines.devices import environment
from imbal_jax.suite.engines.job import Job, Taken
from imbal_jax.suite.engines.worker import READY, TAKEN
from imbal_jax.suite.line import failed
from imbal_jax.training.stopping import SIGNALS, StopRequest

TRIES = 2
DEATHS = 10  # processes in a row that ended without a line: a single run cannot be the cause


class Worker:
    """One process, the run that it is at, and what it has in memory."""

    def __init__(self, job: Job, index: int, workers: int, log: Path) -> None:
        self.index, self.log = index, log
        self.pipe, theirs = Pipe()
        handle = theirs.fileno()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "imbal_jax.suite.engines.worker", str(handle)],
                env={**os.environ, **environment(index, workers, job.out, socket.gethostname())},
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        self.ready = False
        self.address: SuiteAddress | None = None
        self.last: SuiteAddress | None = None
        self.compiled: set[tuple[str, str, str]] = set()
        with suppress(OSError):  # it has ended, which is noticed where answers are taken
            self.pipe.send(list(sys.path))
            self.pipe.send(job)

    def give(self, address: SuiteAddress) -> None:
        self.address = self.last = address
        self.compiled.add((address.cell, address.method, address.setting))
        with suppress(OSError):
            self.pipe.send(address)

    def answer(self) -> Any:
        """READY, TAKEN, a line, or None where there is none yet. Raises EOFError where the process has ended."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except OSError:
            raise EOFError from None

    def end(self, patience: float = 0.0) -> str:
        """End the process, after so many seconds in which it may end itself; returns how it ended."""
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        status = self.process.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def run_local(
    job: Job,
    addresses: Sequence[SuiteAddress],
    taken: Taken,
    *,
    workers: int,
    logs: str = "worker",
    elsewhere: Callable[[], set[str]] = set,
) -> list[SuiteAddress]:
    """Run ``addresses`` in ``workers`` processes and call ``taken`` with each line, in no order.

    A run whose process ends is tried again after the others; where it ends twice, its line says so. logs: names the
    files of what the processes print, OUT/logs/LOGSn.log. elsewhere: keys of the runs that other commands have
    finished since the last call. Returns the runs that another command was at.
    Raises Terminated after SIGTERM or SIGUSR1, KeyboardInterrupt after SIGINT, and Stopped where processes cannot be
    started or all end without a line. The runs without a line are lost and the others are not.
    """
    pool = _Pool(job, list(addresses), taken, workers, logs)
    with StopRequest((*SIGNALS, signal.SIGINT)) as stop:
        try:
            while pool.busy and not stop:
                pool.start()
                pool.give(elsewhere())
                wait([worker.pipe for worker in pool.running], timeout=0.5)
                pool.collect()
            if not stop:
                pool.settle()
        finally:
            pool.end()
    if stop.received == signal.SIGINT:
        raise KeyboardInterrupt
    if stop:
        raise Terminated(f"{stop.reason}: the lines of finished runs are kept; the same command goes on")
    return pool.others


class _Pool:
    """The workers of one call of ``run_local``, and its queue."""

    def __init__(self, job: Job, waiting: list[SuiteAddress], taken: Taken, workers: int, logs: str) -> None:
        self.job, self.waiting, self.taken, self.workers, self.logs = job, waiting, taken, workers, logs
        self.running: list[Worker] = []
        self.others: list[SuiteAddress] = []
        self.tries: Counter[SuiteAddress] = Counter()
        self.deaths = 0
        self.ending = False
        self.lost: list[tuple[SuiteAddress, str]] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or any(worker.address for worker in self.running)

    def start(self) -> None:
        """Start processes until there are as many as asked for, or as runs."""
        at_work = sum(worker.address is not None for worker in self.running)
        while len(self.running) < min(self.workers, len(self.waiting) + at_work):
            index = min(set(range(self.workers)) - {worker.index for worker in self.running})
            log = self.job.out / "logs" / f"{self.logs}{index}.log"
            self.running.append(Worker(self.job, index, self.workers, log))

    def give(self, elsewhere: set[str]) -> None:
        """Give every free process its next run."""
        if elsewhere:
            self.waiting = [address for address in self.waiting if address.key not in elsewhere]
        for worker in self.running:
            if worker.ready and worker.address is None and self.waiting:
                at_work = {other.last.cell for other in self.running if other.last and other is not worker}
                address = next_run(self.waiting, worker.last, worker.compiled, at_work)
                self.waiting.remove(address)
                worker.give(address)

    def collect(self) -> None:
        """Take the answers that are there, and replace the processes that have ended."""
        for worker in list(self.running):
            try:
                answer = worker.answer()
            except EOFError:
                self.running.remove(worker)
                self.died(worker)
                continue
            if answer == READY:
                worker.ready = True
            elif answer is not None:
                self.answered(worker, answer)

    def answered(self, worker: Worker, answer: Any) -> None:
        assert worker.address is not None
        address, worker.address, self.deaths = worker.address, None, 0
        if answer == TAKEN:
            self.others.append(address)
        elif not (self.ending and answer["outcome"] == "failed"):  # perhaps of the signal that ends us
            self.taken(address, answer)
        self.settle()

    def died(self, worker: Worker) -> None:
        how = worker.end(patience=5.0)  # it has closed its end of the pipe and is about to go
        if not worker.ready:
            raise Stopped(f"a worker process cannot be started ({how}): {last_words(worker.log)}")
        self.deaths += 1
        if self.deaths >= DEATHS:
            raise Stopped(
                f"{DEATHS} processes in a row ended without a result, the last with {how}: too little memory for "
                f"--workers {self.workers}? What they printed is in {worker.log.parent}"
            )
        if worker.address is None:
            return
        self.tries[worker.address] += 1
        if self.tries[worker.address] < TRIES:
            self.waiting.append(worker.address)
        else:
            self.lost.append((worker.address, f"its process ended {TRIES} times, the last with {how}"))

    def settle(self) -> None:
        """Write the lines of runs that ended their processes, now that the machine is known to do others."""
        for address, reason in self.lost:
            self.taken(address, failed(reason))
        self.lost = []

    def end(self) -> None:
        """End all processes; lines that have come in the meantime are taken, but for those of failed runs."""
        self.ending = True
        with suppress(Exception):
            self.collect()
        for worker in self.running:
            worker.end()


def next_run(
    waiting: Sequence[SuiteAddress],
    last: SuiteAddress | None,
    compiled: set[tuple[str, str, str]],
    at_work: set[str],
) -> SuiteAddress:
    """Which of ``waiting`` a process runs next: of the first replicate, the one that shares most with what it has.

    last: its last run, whose data it holds. compiled: (cell, method, setting) of its runs. at_work: the cells of the
    other processes.
    """
    first = waiting[0]
    held = None if last is None else (last.stage, last.cell, last.draw)

    def cost(address: SuiteAddress) -> tuple[bool, bool, bool]:
        program = (address.cell, address.method, address.setting)
        other_data = (address.stage, address.cell, address.draw) != held
        return other_data, program not in compiled, address.cell in at_work

    replicate = (first.stage, first.draw, first.seed)
    return min((a for a in waiting if (a.stage, a.draw, a.seed) == replicate), key=cost)


def last_words(log: Path) -> str:
    """The last line that a process printed, and where the others are."""
    text = log.read_text(errors="replace").strip() if log.is_file() else ""
    return f"{text.splitlines()[-1] if text else 'it printed nothing'} ({log})"
