"""MQTT: events to a topic, and whether anybody is there to a topic beside it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from urllib.parse import SplitResult, unquote

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.sinks.base import LAST_RETRY_SECONDS, Sink, log

PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_SECONDS = 30  # the broker tells the last will after one and a half of these
IN_FLIGHT = 20  # events handed to the broker and not acknowledged yet
CONNECT_SECONDS = 5.0
WAIT_SECONDS = 0.5  # for the broker, before the time is looked at again
AT_MOST_ONCE, AT_LEAST_ONCE = 0, 1  # MQTT's quality of service


class MqttSink(Sink):
    """Publishes events to the topic in the address's path, and "online" or "offline", retained, to TOPIC/status.

    "offline" is the last will too: the broker says it when this program dies. What the broker has not acknowledged
    when the sink closes counts as dropped. Raises `sink-missing` where paho-mqtt is not installed.
    """

    def __init__(self, address: SplitResult, name: str) -> None:
        self._topic = unquote(address.path.strip("/"))
        self._status_topic = f"{self._topic}/status"
        self._connected = False
        self._unacknowledged: set[int] = set()  # numbers of messages, only touched by the sink's thread
        self._acknowledged: set[int] = set()
        self._said = ""
        self._client = self._new_client(address)
        super().__init__(name)
        # Last: the client's thread calls back at once.
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
        client.reconnect_delay_set(min_delay=1, max_delay=int(LAST_RETRY_SECONDS))
        client.max_inflight_messages_set(IN_FLIGHT)
        client.connect_timeout = CONNECT_SECONDS
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _deliver(self, line: bytes) -> None:
        with self._change:
            while not (self._connected and self._in_flight() < IN_FLIGHT):
                if self._late():
                    raise ConnectionError("not connected")
                self._change.wait(WAIT_SECONDS)
        # Without our lock: the client holds its own while it calls back. What is in flight it keeps over a lost
        # connection, and sends again.
        sent = self._client.publish(self._topic, line.rstrip(b"\n"), AT_LEAST_ONCE)
        self._unacknowledged.add(sent.mid)

    def _let_go(self, deadline: float) -> None:
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
        # Joins the client's thread, which may hang on a broker that neither answers nor hangs up.
        threading.Thread(target=self._client.loop_stop, daemon=True).start()

    def _in_flight(self) -> int:
        self._unacknowledged -= self._acknowledged
        self._acknowledged.clear()
        return len(self._unacknowledged)

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._say(f"the broker refuses the connection ({reason})")
            return
        # Not acknowledged: it is said again with each connection, so that nothing can pile up.
        client.publish(self._status_topic, "online", AT_MOST_ONCE, retain=True)
        self._say("connected")
        with self._change:
            self._connected = True
            self._change.notify_all()

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        self._say("the broker cannot be reached, or its certificate is not trusted; trying again")

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._change:
            was, self._connected = self._connected, False
            closing = self._deadline is not None
        if was and not closing:
            self._say(f"the broker is gone ({reason}), trying again")

    def _on_publish(self, client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
        with self._change:
            self._acknowledged.add(number)
            self._change.notify_all()

    def _say(self, what: str) -> None:
        if what != self._said:
            log.log(logging.INFO if what == "connected" else logging.WARNING, "%s: %s", self.name, what)
        self._said = what


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
