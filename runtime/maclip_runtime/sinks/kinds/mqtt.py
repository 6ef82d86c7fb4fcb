"""MQTT: events go to a topic, and whether this program is online to a second one."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, unquote

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks.address import invalid, network_address
from maclip_runtime.sinks.base import MAX_RETRY_SECONDS, Sink, log, words_of
from maclip_runtime.sinks.home_assistant import BIRTH_TOPIC, HomeAssistant, Message, removal
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sinks.registry import sink
from maclip_runtime.sources import SourceStatus, redact

PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_SECONDS = 30  # the broker publishes the last will after one and a half of these
MAX_IN_FLIGHT = 20  # events handed to the broker and not acknowledged yet
CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 10.0  # without a connection or an acknowledgement, before that is said
RESTART_SECONDS = 1.0  # after an answer that the client cannot parse
LOOK_SECONDS = 5.0  # between two looks at the gallery's actions, for Home Assistant
REMOVE_SECONDS = 10.0  # for a broker, when entities are removed
WAIT_SECONDS = 0.5  # for the broker, before the deadline is checked again
AT_MOST_ONCE, AT_LEAST_ONCE = 0, 1  # MQTT's quality of service


@sink("mqtt", "mqtts", forms=("mqtt://HOST/TOPIC", "mqtts://HOST/TOPIC"))
class MqttSink(Sink):
    """Publishes events to the topic of `mqtt[s]://[user:password@]host[:port]/topic`.

    "online" or "offline" is published, retained, to TOPIC/status; "offline" is also the last will, which the broker
    publishes when this program dies. What the broker has not acknowledged when the sink closes counts as dropped.
    With `SinkOptions.actions` sources and actions are announced to Home Assistant, again whenever it starts.
    Raises `sink-invalid`; `sink-missing` without paho-mqtt.
    """

    def __init__(self, uri: str, options: SinkOptions) -> None:
        address = network_address(uri)
        self._topic = _topic(uri, address)
        self._status_topic = f"{self._topic}/status"
        self._connected = False
        self._unacknowledged: set[int] = set()  # numbers of messages; used by the sink's thread only
        self._acknowledged: set[int] = set()
        self._refused = False  # by the broker, at the present attempt to connect
        self._home = None if options.actions is None else HomeAssistant(self._topic, options.actions)
        self._told: dict[str, float] = {}  # when each source was last looked at for Home Assistant
        self._client = self._new_client(address)
        super().__init__(redact(uri))
        # Last: the client's thread calls back immediately.
        self._client.connect_async(address.hostname, address.port or PORTS[address.scheme.lower()], KEEPALIVE_SECONDS)
        self._client.loop_start()

    def _new_client(self, address: SplitResult) -> Any:
        paho = _import_paho()
        client = _client_class(paho, self._on_garbage)(paho.CallbackAPIVersion.VERSION2)
        _set_login(client, address)
        client.will_set(self._status_topic, "offline", AT_LEAST_ONCE, retain=True)
        client.reconnect_delay_set(min_delay=1, max_delay=int(MAX_RETRY_SECONDS))
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = CONNECT_SECONDS
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def status(self, status: SourceStatus) -> None:
        """Announce a source that is new, and actions that have changed, to Home Assistant."""
        now = time.monotonic()
        if self._home is None or now - self._told.get(status.name, -LOOK_SECONDS) < LOOK_SECONDS:
            return
        self._told[status.name] = now
        if self._home.source(status.name) and self._connected:
            self._announce()

    def deliver(self, line: bytes) -> None:
        """Publish one event once the broker is connected. Raises OSError when closing without it."""
        begun = time.monotonic()
        with self._change:
            while not (self._connected and self._in_flight() < MAX_IN_FLIGHT):
                if self._late():
                    raise ConnectionError("not connected")
                if time.monotonic() - begun > PATIENCE_SECONDS and not self.health.troubled:
                    self.health.fails(
                        "the broker acknowledges nothing" if self._connected else "the broker does not answer"
                    )
                self._change.wait(WAIT_SECONDS)
        # Without our lock: the client holds its own while it calls back. It keeps what is in flight across a lost
        # connection, and sends it again.
        sent = self._client.publish(self._topic, line.rstrip(b"\n"), AT_LEAST_ONCE)
        self._unacknowledged.add(sent.mid)
        if self._home is not None:
            self._send(self._home.event(json.loads(line)))

    def release(self, deadline: float) -> None:
        """Wait for acknowledgements, say "offline" and disconnect."""
        with self._change:
            while self._in_flight() and not self._late():
                self._change.wait(WAIT_SECONDS)
            lost = self._in_flight()
            self.delivered -= lost
            self.dropped += lost
            connected = self._connected
        if connected:
            goodbye = self._client.publish(self._status_topic, "offline", AT_LEAST_ONCE, retain=True)
            with suppress(RuntimeError, ValueError):  # the broker has gone in this very moment
                goodbye.wait_for_publish(max(0.1, deadline - time.monotonic()))
        self._client.disconnect()
        # `loop_stop` joins the client's thread, which may hang on a broker that neither answers nor hangs up.
        threading.Thread(target=self._client.loop_stop, daemon=True).start()

    def _in_flight(self) -> int:
        self._unacknowledged -= self._acknowledged
        self._acknowledged.clear()
        return len(self._unacknowledged)

    def _delivered(self) -> None:
        """Nothing: what is handed to the client is delivered once the broker acknowledges it."""

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._refused = reason.is_failure
        if self._refused:
            self.health.fails(f"the broker refuses the connection ({reason}), trying again")
            return
        # At most once: it is repeated at each connection, so that nothing accumulates.
        client.publish(self._status_topic, "online", AT_MOST_ONCE, retain=True)
        if self._home is not None:
            client.subscribe(BIRTH_TOPIC, AT_MOST_ONCE)
            self._announce()
        if self.health.troubled:
            self.health.works("connected")
        else:
            log.info("%s: connected", self.name)
        with self._change:
            self._connected = True
            self._change.notify_all()

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        if message.topic == BIRTH_TOPIC and message.payload == b"online":
            self._announce()

    def _announce(self) -> None:
        assert self._home is not None
        self._send(self._home.announcement())

    def _send(self, messages: Sequence[Message]) -> None:
        """Publish for Home Assistant: at most once, because each is repeated at the next connection."""
        for topic, payload, retain in messages:
            self._client.publish(topic, payload, AT_MOST_ONCE, retain=retain)

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        error = sys.exc_info()[1]  # the client calls this where it handles the error, and does not hand it on
        why = f" ({words_of(error)})" if error else ""
        self.health.fails(f"the broker cannot be reached{why}, trying again")

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._change:
            was, self._connected = self._connected, False
            closing = self._deadline is not None
        refused, self._refused = self._refused, False
        if closing or refused:
            return
        if was:
            self.health.fails(f"the broker is gone ({reason}), trying again")
        else:
            self.health.fails(
                "the other end hangs up before it says that it is an MQTT broker, trying again; "
                "is it the right port, and does it want mqtts://?"
            )

    def _on_garbage(self, error: Exception) -> None:
        self.health.fails(f"what answers is no MQTT broker ({type(error).__name__}), trying again")

    def _on_publish(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        with self._change:
            self._acknowledged.add(number)
            self._change.notify_all()
        self.health.works()


def remove_from_home_assistant(uri: str) -> None:
    """Remove all entities that the sink of this address has announced. Raises `sink-invalid`, `sink-lost`."""
    address = network_address(uri)
    topic = _topic(uri, address)
    paho = _import_paho()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    _set_login(client, address)
    try:
        client.connect(address.hostname, address.port or PORTS[address.scheme.lower()], KEEPALIVE_SECONDS)
        client.loop_start()
        for name, payload, retain in removal(topic):
            sent = client.publish(name, payload, AT_LEAST_ONCE, retain=retain)
            sent.wait_for_publish(REMOVE_SECONDS)
            if not sent.is_published():
                raise OSError("it acknowledges nothing")
    except (OSError, RuntimeError, ValueError) as error:
        raise MaclipError(
            "sink-lost", f"{redact(uri)} cannot be reached ({words_of(error)}).", "Check that the broker runs there."
        ) from error
    finally:
        client.disconnect()
        client.loop_stop()


def _set_login(client: Any, address: SplitResult) -> None:
    if address.username is not None:
        client.username_pw_set(unquote(address.username), unquote(address.password or ""))
    if address.scheme.lower() == "mqtts":
        client.tls_set()  # the system's authorities, or those of SSL_CERT_FILE


def _client_class(paho: Any, garbage: Callable[[Exception], None]) -> Any:
    """paho's client, whose thread survives an answer that it cannot parse: `garbage` is told, and it connects anew."""

    class Client(paho.Client):  # type: ignore[misc]
        def loop_forever(self, *args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return super().loop_forever(*args, **kwargs)
                except Exception as error:
                    garbage(error)
                time.sleep(RESTART_SECONDS)
                with suppress(Exception):  # told by the next round
                    self.reconnect()

    return Client


def _topic(uri: str, address: SplitResult) -> str:
    topic = unquote(address.path.strip("/"))
    if not topic or set(topic) & set("#+\0"):
        raise invalid(uri, "names no topic to publish to")
    if "?" in uri or "#" in uri:
        raise invalid(uri, "has options, but none are supported")
    return topic


def _import_paho() -> Any:
    try:
        import paho.mqtt.client
    except ImportError as error:
        raise MaclipError(
            "sink-missing",
            "Sending to an MQTT broker needs paho-mqtt, which is not installed.",
            "Install it: pip install 'maclip[mqtt]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return paho.mqtt.client
