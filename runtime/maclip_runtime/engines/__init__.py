"""Engines: a bundle's graphs on the device that was asked for, and on no other.

`open_engine` takes the user's word for a device; onnxruntime, OpenVINO and NVIDIA's own engines stand behind it.
"""

from maclip_runtime.engines.audit import Placement
from maclip_runtime.engines.base import Array, Engine, as_float
from maclip_runtime.engines.opening import DEVICES, open_engine

__all__ = ["DEVICES", "Array", "Engine", "Placement", "as_float", "open_engine"]
