"""How recognition fares, for machines and people: Prometheus metrics, structured logs, one line of status.

Each implements `Callbacks`; nothing here knows more than callbacks are told. Metrics need an extra and are imported
from `maclip_runtime.telemetry.metrics`.
"""

from maclip_runtime.telemetry.logs import Journal, configure_logs
from maclip_runtime.telemetry.status import StatusBoard

__all__ = ["Journal", "StatusBoard", "configure_logs"]
