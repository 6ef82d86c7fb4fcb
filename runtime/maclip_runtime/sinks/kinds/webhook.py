"""Webhooks: each event is POSTed as JSON over one connection that is kept open."""

from __future__ import annotations

import base64
import http.client
import selectors
import ssl
from urllib.parse import SplitResult, unquote

from maclip_runtime.sinks.address import network_address, redact_path
from maclip_runtime.sinks.base import Refused, RetryLater, Sink
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sinks.registry import sink

TIMEOUT_SECONDS = 10.0  # for connecting, and for each read of an answer
RETRY_STATUSES = {408, 425, 429}  # besides 500 and above
MAX_ANSWER_BYTES = 1 << 16  # what is read of an answer, so that the connection can be used again


@sink("http", "https")
class WebhookSink(Sink):
    """POSTs `application/json` to `http[s]://[user:password@]host[:port]/path`. Raises `sink-invalid`.

    2xx accepts an event; 408, 425, 429, 5xx and silence are retried; other answers refuse it. No proxy is used and no
    redirect is followed: a POST would become a GET, or go to a place that nobody named.
    """

    def __init__(self, uri: str, options: SinkOptions) -> None:
        address = network_address(uri)
        self._connection = _connection(address)
        self._target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._headers = {"Content-Type": "application/json", "User-Agent": "maclip-run"}
        if address.username is not None:
            pair = f"{unquote(address.username)}:{unquote(address.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        super().__init__(redact_path(uri))

    def deliver(self, line: bytes) -> None:
        """POST one event. Raises OSError, `RetryLater`, `Refused`."""
        try:
            answer = self._exchange(line)
        except http.client.HTTPException as error:
            if isinstance(error, OSError):
                raise
            raise RetryLater(f"no HTTP answer: {type(error).__name__}") from None
        if answer.status in RETRY_STATUSES or answer.status >= 500:
            raise RetryLater(f"answered {answer.status}")
        if not 200 <= answer.status < 300:
            more = ", a redirect, which is not followed" if 300 <= answer.status < 400 else ""
            raise Refused(f"answered {answer.status}{more}")

    def _exchange(self, line: bytes) -> http.client.HTTPResponse:
        """POST one event; at once a second time if the server has closed the connection that was kept open."""
        if self._hung_up():
            self._connection.close()  # the next request connects again
        kept = self._connection.sock is not None
        try:
            return self._post(line)
        except (ConnectionError, ssl.SSLError, http.client.BadStatusLine):
            if not kept:
                raise
            return self._post(line)

    def _post(self, line: bytes) -> http.client.HTTPResponse:
        """Raises OSError and `http.client.HTTPException`, after which the connection is closed."""
        try:
            self._connection.request("POST", self._target, line.rstrip(b"\n"), self._headers)
            answer = self._connection.getresponse()
            answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if not answer.isclosed():
            self._connection.close()
        return answer

    def _hung_up(self) -> bool:
        """Whether the server has closed the idle connection, or said something that nobody asked for."""
        if self._connection.sock is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def release(self, deadline: float) -> None:
        """Close the connection."""
        self._connection.close()


def _connection(address: SplitResult) -> http.client.HTTPConnection:
    assert address.hostname
    if address.scheme.lower() == "https":
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
