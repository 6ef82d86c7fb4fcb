"""A TCP proxy that is slow, counts bytes, and can be cut: a network between a client and a server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


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
        try:
            while piece := source.recv(1 << 14):
                if upwards:
                    self.sent += len(piece)
                    if self.bytes_a_second is not None:
                        time.sleep(len(piece) / self.bytes_a_second)
                elif self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(piece)
        except OSError:
            pass
