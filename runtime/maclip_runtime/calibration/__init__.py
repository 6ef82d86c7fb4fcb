"""Calibration: for each class the distance above which the answer is "unknown", and what that limit costs.

`background` cuts background video into windows, `choosing` finds the limits, `intervals` says how sure the figures
are, `figure` draws them.
"""

from maclip_runtime.calibration.background import Background, see_background
from maclip_runtime.calibration.choosing import Calibration, ClassCalibration, calibrate

__all__ = ["Background", "Calibration", "ClassCalibration", "calibrate", "see_background"]
