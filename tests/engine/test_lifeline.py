"""A connection that ends without a goodbye is a lost process; one that ends with it is not."""

import queue
import socket
import subprocess
import sys
import time

from imbal_jax.engine.lifeline import Line, Listener

CONNECTED = """
import sys, time
from imbal_jax.engine.lifeline import Line
line = Line("localhost", int(sys.argv[1]), 7, print)
if sys.argv[2] == "leave":
    line.leave()
else:
    print("here", flush=True)
    time.sleep(60)
"""


def connected(listener: Listener, how: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CONNECTED, str(listener.port), how]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_is_lost_at_once() -> None:
    lost: queue.Queue[int] = queue.Queue()
    with connected(Listener(lost.put), "stay") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        time.sleep(0.2)
        assert lost.empty()
        process.kill()
        assert lost.get(timeout=10) == 7


def test_a_process_that_leaves_is_not_lost() -> None:
    lost: queue.Queue[int] = queue.Queue()
    with connected(Listener(lost.put), "leave") as process:
        assert process.wait(timeout=60) == 0
    time.sleep(0.5)
    assert lost.empty()


def test_the_others_hear_of_the_end_of_the_first() -> None:
    for goodbye in (True, False):
        lost: queue.Queue[int] = queue.Queue()
        with socket.create_server(("localhost", 0)) as server:
            line = Line("localhost", server.getsockname()[1], 3, lost.put)
            first, _ = server.accept()
            assert int(first.recv(8)) == 3
            if goodbye:
                first.sendall(b".")
            first.close()
            if goodbye:
                time.sleep(0.2)
                assert lost.empty()
            else:
                assert lost.get(timeout=10) == 0
        line.leave()
        line.close()
