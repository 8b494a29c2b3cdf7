"""A process of the local engine: it runs the addresses that it is given, one after the other.

Data and compiled programs stay in the process from run to run.
"""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

READY = "ready"
TAKEN = "taken"
"""The answer for a run that another command is at, or has done since its line was looked for."""


def main(handle: int) -> None:
    """Answer over the connection ``handle`` until its other end closes.

    Receives the parent's search path, a ``Job``, then addresses; sends READY, then for each address its line, or
    TAKEN.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the parent decides what they mean
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    parts = Connection(handle)
    sys.path[:] = parts.recv()
    from imbal_jax.suite.engines.claims import Claims
    from imbal_jax.suite.engines.job import run_one
    from imbal_jax.suite.ledger import Tail

    job = parts.recv()
    claims, tail, done = Claims(job.out), Tail(job.out), set[str]()
    parts.send(READY)
    try:
        address = parts.recv()
        while True:
            with claims.hold(address.key) as ours:
                done.update(line["key"] for line in tail.new())  # a claim is held until its line is there
                answer: Any = run_one(job, address) if ours and address.key not in done else TAKEN
                parts.send(answer)
                address = (
                    parts.recv()
                )  # the parent sends it when the line is in the ledger, which ends the claim
    except (EOFError, OSError):
        return


def _end_with(parent: int) -> None:
    """End this process when its parent was killed: the same command may begin again at once."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
