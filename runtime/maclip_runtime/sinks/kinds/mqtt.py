"""MQTT: events go to a topic, and whether this program is online to a second one."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from urllib.parse import SplitResult, unquote

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks.address import invalid, network_address
from maclip_runtime.sinks.base import MAX_RETRY_SECONDS, Sink, log
from maclip_runtime.sinks.options import SinkOptions
from maclip_runtime.sinks.registry import sink
from maclip_runtime.sources import redact

PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_SECONDS = 30  # the broker publishes the last will after one and a half of these
MAX_IN_FLIGHT = 20  # events handed to the broker and not acknowledged yet
CONNECT_SECONDS = 5.0
WAIT_SECONDS = 0.5  # for the broker, before the deadline is checked again
AT_MOST_ONCE, AT_LEAST_ONCE = 0, 1  # MQTT's quality of service


@sink("mqtt", "mqtts", forms=("mqtt://HOST/TOPIC", "mqtts://HOST/TOPIC"))
class MqttSink(Sink):
    """Publishes events to the topic of `mqtt[s]://[user:password@]host[:port]/topic`.

    "online" or "offline" is published, retained, to TOPIC/status; "offline" is also the last will, which the broker
    publishes when this program dies. What the broker has not acknowledged when the sink closes counts as dropped.
    Raises `sink-invalid`; `sink-missing` without paho-mqtt.
    """

    def __init__(self, uri: str, options: SinkOptions) -> None:
        address = network_address(uri)
        self._topic = _topic(uri, address)
        self._status_topic = f"{self._topic}/status"
        self._connected = False
        self._unacknowledged: set[int] = set()  # numbers of messages; used by the sink's thread only
        self._acknowledged: set[int] = set()
        self._logged = ""
        self._client = self._new_client(address)
        super().__init__(redact(uri))
        # Last: the client's thread calls back immediately.
        self._client.connect_async(address.hostname, address.port or PORTS[address.scheme.lower()], KEEPALIVE_SECONDS)
        self._client.loop_start()

    def _new_client(self, address: SplitResult) -> Any:
        paho = _import_paho()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if address.username is not None:
            client.username_pw_set(unquote(address.username), unquote(address.password or ""))
        if address.scheme.lower() == "mqtts":
            client.tls_set()  # the system's authorities, or those of SSL_CERT_FILE
        client.will_set(self._status_topic, "offline", AT_LEAST_ONCE, retain=True)
        client.reconnect_delay_set(min_delay=1, max_delay=int(MAX_RETRY_SECONDS))
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = CONNECT_SECONDS
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def deliver(self, line: bytes) -> None:
        """Publish one event once the broker is connected. Raises OSError when closing without it."""
        with self._change:
            while not (self._connected and self._in_flight() < MAX_IN_FLIGHT):
                if self._late():
                    raise ConnectionError("not connected")
                self._change.wait(WAIT_SECONDS)
        # Without our lock: the client holds its own while it calls back. It keeps what is in flight across a lost
        # connection, and sends it again.
        sent = self._client.publish(self._topic, line.rstrip(b"\n"), AT_LEAST_ONCE)
        self._unacknowledged.add(sent.mid)

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
            goodbye.wait_for_publish(max(0.1, deadline - time.monotonic()))
        self._client.disconnect()
        # `loop_stop` joins the client's thread, which may hang on a broker that neither answers nor hangs up.
        threading.Thread(target=self._client.loop_stop, daemon=True).start()

    def _in_flight(self) -> int:
        self._unacknowledged -= self._acknowledged
        self._acknowledged.clear()
        return len(self._unacknowledged)

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._log(f"the broker refuses the connection ({reason})")
            return
        # At most once: it is repeated at each connection, so that nothing accumulates.
        client.publish(self._status_topic, "online", AT_MOST_ONCE, retain=True)
        self._log("connected")
        with self._change:
            self._connected = True
            self._change.notify_all()

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        self._log("the broker cannot be reached, or its certificate is not trusted; trying again")

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._change:
            was, self._connected = self._connected, False
            closing = self._deadline is not None
        if was and not closing:
            self._log(f"the broker is gone ({reason}), trying again")

    def _on_publish(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        with self._change:
            self._acknowledged.add(number)
            self._change.notify_all()

    def _log(self, what: str) -> None:
        if what != self._logged:
            log.log(logging.INFO if what == "connected" else logging.WARNING, "%s: %s", self.name, what)
        self._logged = what


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
