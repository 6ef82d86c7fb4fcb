"""A store on a web server: GET, and PUT with If-Match or If-None-Match, over one connection."""

from __future__ import annotations

import http.client
import ipaddress
import secrets
from urllib.parse import quote, urlsplit

from maclip_runtime.credentials import bearer_token
from maclip_runtime.errors import MaclipError, first_line
from maclip_runtime.gallery.sharing.stores import (
    TOKEN_VARIABLE,
    ChangedMeanwhile,
    Stored,
    no_conditions,
    refused,
    too_large,
    unreachable,
)

TIMEOUT_SECONDS = 30.0  # for connecting, and for each read of an answer
MAX_ANSWER_BYTES = 1 << 16  # of an answer that only says what was done
CHANGED = (409, 412)
TRIAL = "trial.txt"


class WebStore:
    """A folder of a web server. No proxy is used and no redirect is followed.

    where: `http[s]://HOST[:PORT]/PATH`.

    Raises `token-invalid`, and `share-refused` where a token would travel unencrypted.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        parts = urlsplit(where)
        assert parts.hostname
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._path = parts.path
        if bearer_token(TOKEN_VARIABLE) and not (secure or is_local(parts.hostname)):
            raise MaclipError(
                "share-refused",
                f"The token of {TOKEN_VARIABLE} would travel to {parts.hostname} unencrypted.",
                "Use https://, or remove the token.",
            )

    def get(self, name: str, max_bytes: int, *, unless: str | None = None) -> Stored | None:
        """See `Store.get`."""
        status, tag, content = self._ask("GET", name, {"If-None-Match": unless} if unless else {}, max_bytes=max_bytes)
        if status == 304:
            return Stored(b"", unless)
        if status == 404:
            return None
        if status != 200:
            raise self._fault(status)
        return Stored(content, tag)

    def put(self, name: str, content: bytes) -> None:
        """See `Store.put`."""
        status, _, _ = self._ask("PUT", name, {"If-None-Match": "*"}, content)
        if status not in CHANGED and not 200 <= status < 300:
            raise self._fault(status)

    def replace(self, name: str, content: bytes, tag: str | None) -> str | None:
        """See `Store.replace`. Raises `share-unsupported` too."""
        if tag is None:
            self._require_conditions()
        elif tag.startswith("W/"):
            raise no_conditions(self.where, "its ETags are weak")
        status, made, _ = self._ask("PUT", name, {"If-Match": tag} if tag else {"If-None-Match": "*"}, content)
        if status in CHANGED:
            raise ChangedMeanwhile
        if not 200 <= status < 300:
            raise self._fault(status)
        return made

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _require_conditions(self) -> None:
        """Try with a file of no meaning whether the server refuses to overwrite: some ignore the condition."""
        content = secrets.token_hex(8).encode()
        self.put(TRIAL, content)
        status, _, _ = self._ask("PUT", TRIAL, {"If-None-Match": "*"}, content)
        if status not in CHANGED:
            raise no_conditions(self.where, "it overwrites a file that must not be there")

    def _ask(
        self, method: str, name: str, headers: dict[str, str], body: bytes | None = None, *, max_bytes: int = 0
    ) -> tuple[int, str | None, bytes]:
        """Status, ETag and body of an answer; asked again at once if the server had closed the kept connection."""
        kept = self._connection.sock is not None
        try:
            return self._once(method, name, headers, body, max_bytes)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if not (kept and isinstance(error, ConnectionError | http.client.BadStatusLine)):
                raise unreachable(self.where, first_line(error)) from error
        try:
            return self._once(method, name, headers, body, max_bytes)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise unreachable(self.where, first_line(error)) from error

    def _once(
        self, method: str, name: str, headers: dict[str, str], body: bytes | None, max_bytes: int
    ) -> tuple[int, str | None, bytes]:
        every = {"User-Agent": "maclip-run", **headers}
        if token := bearer_token(TOKEN_VARIABLE):
            every["Authorization"] = f"Bearer {token}"
        self._connection.request(method, f"{self._path}/{quote(name)}", body, every)
        answer = self._connection.getresponse()
        wanted = answer.status == 200 and method == "GET"
        bound = max_bytes if wanted else MAX_ANSWER_BYTES
        content = answer.read(bound + 1)
        if not answer.isclosed() or len(content) > bound:
            self._connection.close()
        if wanted and len(content) > bound:
            raise too_large(self.where, name, max_bytes)
        if wanted and (answer.length or 0) > 0:
            raise http.client.IncompleteRead(content)
        return answer.status, answer.headers.get("ETag"), content

    def _fault(self, status: int) -> MaclipError:
        if status in (401, 403, 405, 501):
            return refused(self.where, f"it answered {status}")
        return unreachable(self.where, f"it answered {status}")


def is_local(host: str) -> bool:
    """Whether a host is this machine, so that nothing passes a network."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
