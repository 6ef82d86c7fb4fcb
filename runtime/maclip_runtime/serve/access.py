"""Who may use the server: anybody on this machine, or whoever has the token."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time

from maclip_runtime.errors import MaclipError
from maclip_runtime.serve.state import State

SESSION_SECONDS = 7 * 86400.0  # that a login lasts
MAX_SESSIONS = 100
FREE_TRIES = 5  # wrong tokens of one address before it has to wait
FIRST_WAIT_SECONDS = 2.0  # doubled with each further one
MAX_WAIT_SECONDS = 300.0
MAX_ADDRESSES = 10_000  # whose tries are counted
ALL_FREE_TRIES = 100  # wrong tokens of all addresses in a minute before all have to wait
LOCAL_HOSTS = frozenset(("127.0.0.1", "localhost", "::1"))


class Access:
    """Checks tokens and sessions. Safe to use from several threads.

    required: whether a token is needed; else only names of this machine are served, so that no page elsewhere can
        reach it through a name of its own.
    """

    def __init__(self, state: State, *, required: bool) -> None:
        self.required = required
        self._state = state
        self._lock = threading.Lock()
        self._sessions: dict[str, float] = {}  # when each ends, by the hash of its id
        self._tries: dict[str, tuple[int, float]] = {}  # by address: wrong tokens, and until when it waits
        self._wrong_at: list[float] = []

    def make_token(self, *, new: bool = False) -> str | None:
        """A token, where there is none yet or a `new` one is wanted: it is shown once and kept as a hash."""
        if not self.required or (self._state.token_hash and not new):
            return None
        token = secrets.token_urlsafe(24)
        self._state.keep_token_hash(_digest(token))
        with self._lock:
            self._sessions.clear()
        return token

    def is_token(self, token: str, address: str) -> bool:
        """Whether it is the token. Raises `too-many-tries` where the address has to wait."""
        now = time.monotonic()
        with self._lock:
            self._wrong_at = [at for at in self._wrong_at if at > now - 60.0]
            tries, until = self._tries.get(address, (0, 0.0))
            if now < until or len(self._wrong_at) >= ALL_FREE_TRIES:
                raise MaclipError("too-many-tries", "Too many wrong tokens came from there.", "Wait a few minutes.")
            right = hmac.compare_digest(_digest(token), self._state.token_hash or "")
            if right:
                self._tries.pop(address, None)
                return True
            self._wrong_at.append(now)
            tries += 1
            over = tries - FREE_TRIES
            wait_s = 0.0 if over < 0 else min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(over, 20))
            if len(self._tries) >= MAX_ADDRESSES:
                self._tries.pop(next(iter(self._tries)))
            self._tries[address] = tries, now + wait_s
            return False

    def open_session(self) -> str:
        """A new session's id, for a cookie."""
        session = secrets.token_urlsafe(24)
        with self._lock:
            while len(self._sessions) >= MAX_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[_digest(session)] = time.monotonic() + SESSION_SECONDS
        return session

    def is_session(self, session: str) -> bool:
        """Whether a cookie's session is open."""
        with self._lock:
            return self._sessions.get(_digest(session), 0.0) > time.monotonic()

    def close_session(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(session), None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
