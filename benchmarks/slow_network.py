"""A TCP proxy that is slow, counts bytes, and can be cut: a network between a client and a server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

PIECE_BYTES = 1 << 17


class SlowNetwork:
    """Forwards connections to a port of this machine. Use it in a `with` block.

    port: where the server listens.
    bytes_a_second: of what the client sends; None: as fast as it goes.
    delay_s: before each piece of the server's answer.
    """

    def __init__(self, port: int, *, bytes_a_second: float | None = None, delay_s: float = 0.0) -> None:
        self._server = ("127.0.0.1", port)
        self.bytes_a_second, self.delay_s = bytes_a_second, delay_s
        self.sent = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    @property
    def device(self) -> str:
        """The --device value of the server behind the network."""
        return f"triton:grpc://127.0.0.1:{self.port}"

    def __enter__(self) -> SlowNetwork:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """Close every connection."""
        while self._open:
            one = self._open.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        free_at = 0.0  # when the line has taken what was sent so far
        try:
            while piece := source.recv(PIECE_BYTES):
                if upwards:
                    self.sent += len(piece)
                    if self.bytes_a_second is not None:
                        now = time.monotonic()
                        free_at = max(now, free_at) + len(piece) / self.bytes_a_second
                        time.sleep(free_at - now)
                elif self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(piece)
        except OSError:
            pass


@contextlib.contextmanager
def slow_network(port: int, bytes_a_second: float, delay_s: float) -> Iterator[str]:
    """The --device value of a server behind a slow network, in a process of its own: its work is not measured."""
    command = [sys.executable, "-m", "benchmarks.slow_network", *map(str, (port, bytes_a_second, delay_s))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.kill()


if __name__ == "__main__":
    given = sys.argv[1:]
    with SlowNetwork(int(given[0]), bytes_a_second=float(given[1]), delay_s=float(given[2])) as network:
        print(network.device, flush=True)
        threading.Event().wait()
