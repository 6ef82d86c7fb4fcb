"""How recognition fares, for machines and people: Prometheus metrics, structured logs, one line of status.

Each is a listener; nothing here knows more than listeners are told. Metrics need an extra and are imported from
`maclip_runtime.telemetry.metrics`.
"""

from maclip_runtime.telemetry.logs import EventLogger, configure_logs
from maclip_runtime.telemetry.status import StatusBoard

__all__ = ["EventLogger", "StatusBoard", "configure_logs"]
