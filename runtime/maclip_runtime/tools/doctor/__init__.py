"""What this machine can run, what really runs where, and what to do about what is wrong."""

from maclip_runtime.tools.doctor.devices import require_device
from maclip_runtime.tools.doctor.report import Problem, Report, diagnose

__all__ = ["Problem", "Report", "diagnose", "require_device"]
