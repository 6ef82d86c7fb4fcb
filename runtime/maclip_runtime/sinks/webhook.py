"""A webhook: each event is POSTed as JSON over one connection that is kept open."""

from __future__ import annotations

import base64
import http.client
from urllib.parse import SplitResult, unquote

from maclip_runtime.sinks.base import Faltered, Refused, Sink

TIMEOUT_SECONDS = 10.0  # for connecting, and for each part of an answer
BUSY = {408, 425, 429}  # answers that ask for another try, as all of 500 and above do
ANSWER_BYTES = 1 << 16  # of an answer that are read; what it says does not matter


class WebhookSink(Sink):
    """POSTs `application/json` to an address; 2xx means taken.

    No proxy is used, no redirect followed (a POST would become a GET, or leave for a place nobody named). Other
    4xx and 3xx answers refuse the event; 5xx and silence are tried again.
    """

    def __init__(self, address: SplitResult, name: str, timeout_s: float = TIMEOUT_SECONDS) -> None:
        self._connection = _connection(address, timeout_s)
        self._target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._headers = {"Content-Type": "application/json", "User-Agent": "maclip-run"}
        if address.username is not None:
            pair = f"{unquote(address.username)}:{unquote(address.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        super().__init__(name)

    def _deliver(self, line: bytes) -> None:
        try:
            self._connection.request("POST", self._target, line.rstrip(b"\n"), self._headers)
            answer = self._connection.getresponse()
            answer.read(ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request connects again
            if isinstance(error, OSError):
                raise
            raise Faltered(f"no HTTP answer: {type(error).__name__}") from None
        if not answer.isclosed():
            self._connection.close()
        if answer.status in BUSY or answer.status >= 500:
            raise Faltered(f"answered {answer.status}")
        if not 200 <= answer.status < 300:
            raise Refused(f"answered {answer.status}")

    def _let_go(self, deadline: float) -> None:
        self._connection.close()


def _connection(address: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    assert address.hostname
    if address.scheme.lower() == "https":
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=timeout_s)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)
