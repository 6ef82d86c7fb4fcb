"""Messages to people through Apprise: Telegram, ntfy, Discord, e-mail and a hundred more services."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from maclip_runtime.decisions import UNCERTAIN, UNKNOWN, Event
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks.base import RetryLater, Sink
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sinks.registry import sink

SCHEME = "apprise://"
STRIP_SECONDS = 5.0  # how long a message waits for its strip
LOOK_SECONDS = 0.1


@sink("apprise", forms=("apprise://SERVICE://…",))
class AppriseSink(Sink):
    """Sends a message for each action that has ended, at most one in `message_s` seconds for each source.

    The address is `apprise://` and an address of Apprise, for instance `apprise://ntfy://mytopic`. The strip of the
    evidence is attached. Actions that fell into the pause are counted in the next message; false starts and "unknown"
    give none. Raises `sink-invalid`; `sink-missing` without apprise.
    """

    def __init__(self, uri: str, options: SinkOptions) -> None:
        service = uri[len(SCHEME) :]
        self._apprise = _import_apprise()
        self._services = self._apprise.Apprise()
        kind = service.partition("://")[0]
        if "://" not in service or not self._services.add(service):
            raise MaclipError(
                "sink-invalid",
                f"{SCHEME}{kind}://… is no address of a service that Apprise knows.",
                "Write apprise:// and the service's address, for instance apprise://ntfy://mytopic.",
            )
        self._options = options
        self._sent_at: dict[str, float] = {}
        self._passed: dict[str, int] = {}  # actions since the last message, by source
        super().__init__(f"{SCHEME}{kind}://…")  # tokens are part of the address

    def event(self, event: Event) -> None:
        """Queue the end of an action; others are no news."""
        if event.kind == "end" and not event.withdrawn and event.label not in (UNKNOWN, UNCERTAIN):
            super().event(event)

    def deliver(self, line: bytes) -> None:
        """Send one message, unless the last one was sent a moment ago. Raises `RetryLater`."""
        record = json.loads(line)
        source, now = record["source"], time.monotonic()
        if now - self._sent_at.get(source, -float("inf")) < self._options.message_s:
            self._passed[source] = self._passed.get(source, 0) + 1
            return
        strip = self._strip(record["strip"])
        attach = None if strip is None else self._apprise.AppriseAttachment(str(strip))
        title, body = words_for(record, self._passed.get(source, 0))
        if not self._services.notify(body, title=title, attach=attach):
            raise RetryLater("the service did not accept the message")
        self._sent_at[source] = time.monotonic()
        self._passed.pop(source, None)

    def _strip(self, name: str | None) -> Path | None:
        """The strip, once it is written; None where there is none."""
        if name is None or self._options.evidence is None:
            return None
        path, until = self._options.evidence / name, time.monotonic() + STRIP_SECONDS
        while not path.is_file() and time.monotonic() < until and not self._late():
            time.sleep(LOOK_SECONDS)
        return path if path.is_file() else None


def words_for(record: dict[str, Any], passed: int) -> tuple[str, str]:
    """Title and text of a message."""
    seconds = record["end_s"] - record["start_s"]
    at = "" if record["started_at"] is None else time.strftime(" at %H:%M:%S", time.localtime(record["started_at"]))
    body = f"{record['label']}{at}, for {seconds:.1f} s, match {record['match']:.2f}."
    if passed:
        body += f" {passed} more since the last message."
    return f"{record['source']}: {record['label']}", body


def _import_apprise() -> Any:
    try:
        import apprise
    except ImportError as error:
        raise MaclipError(
            "sink-missing",
            "Sending messages needs apprise, which is not installed.",
            "Install it: pip install 'maclip[notify]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return apprise
