"""The earlier name of `maclip_runtime.engines`."""

from maclip_runtime.engines import DEVICES, Array, Engine, as_float, open_engine

__all__ = ["DEVICES", "Array", "Engine", "as_float", "open_engine"]
