"""Connections between the first process and the others that say at once when one of them is gone.

The system closes the connections of a process that was killed, whatever it was doing, and keepalive probes, which the
kernel answers, find a machine that is lost. A process that is busy, or waits for Python's lock, is never taken for
dead. Where no connection can be made, JAX's own heartbeats remain.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

LEAVING = b"."
"""Sent before a process ends well, or with a message of its own."""
PROBE_SECONDS = (10, 5, 3)  # idle before the first keepalive probe, between two, and how many go unanswered
CONNECT_SECONDS = 10.0
HELLO_BYTES = 8  # the number of the process that connects


class Listener:
    """In process 0. lost: called once, with the number of a process whose connection ends without a goodbye."""

    def __init__(self, lost: Callable[[int], None]) -> None:
        self._lost = lost
        self._server = socket.create_server(("", 0))
        self._held: dict[socket.socket, int] = {}
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._server, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._server:
                        self._accept(ready)
                    elif isinstance(key.fileobj, socket.socket):
                        if not _is_alive(key.fileobj):
                            self._lost(self._held[key.fileobj])
                        ready.unregister(key.fileobj)

    def _accept(self, ready: selectors.BaseSelector) -> None:
        with suppress(OSError, ValueError):
            connection, _ = self._server.accept()
            connection.settimeout(CONNECT_SECONDS)
            number = int(connection.recv(HELLO_BYTES))
            _probed(connection)
            self._held[connection] = number
            ready.register(connection, selectors.EVENT_READ)

    def leave(self) -> None:
        """Say goodbye to all."""
        for connection in self._held:
            with suppress(OSError):
                connection.sendall(LEAVING)


class Line:
    """In another process. lost: called where process 0 at host:port is gone without a goodbye."""

    def __init__(self, host: str, port: int, number: int, lost: Callable[[int], None]) -> None:
        self._connection = socket.create_connection((host, port), CONNECT_SECONDS)
        self._connection.sendall(str(number).rjust(HELLO_BYTES).encode())
        _probed(self._connection)
        self._lost = lost
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        if not _is_alive(self._connection):
            self._lost(0)

    def leave(self) -> None:
        """Say goodbye to process 0."""
        with suppress(OSError):
            self._connection.sendall(LEAVING)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _probed(connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), PROBE_SECONDS, strict=True):
        if hasattr(socket, name):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _is_alive(connection: socket.socket) -> bool:
    """Waits for the goodbye; False where the connection ends without."""
    try:
        return bool(connection.recv(1))
    except OSError:
        return False
