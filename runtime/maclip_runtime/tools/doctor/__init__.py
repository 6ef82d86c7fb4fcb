"""What this machine can run, where a bundle's graphs really run, and a fix for each problem.

`report` puts it together from `machine` facts, working `devices`, the providers' shared `libraries` and the
`surroundings` (extras, cameras, cache).
"""

from maclip_runtime.tools.doctor.devices import require_device
from maclip_runtime.tools.doctor.report import Problem, Report, diagnose

__all__ = ["Problem", "Report", "diagnose", "require_device"]
