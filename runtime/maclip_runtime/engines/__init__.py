"""Engines run a bundle's graphs on the device that was asked for, and on no other.

`opening` turns a --device value into an engine: `onnxruntime` (with its `providers` and the `audit` of where nodes
ran), `openvino`, or `tensorrt`. `base` is what all engines share, `pieces` splits large batches. `encoder` runs the
graphs for the rest of the runtime, `text_encoder` embeds names outside the vocabulary.
"""

from maclip_runtime.engines.base import Engine
from maclip_runtime.engines.opening import open_engine

__all__ = ["Engine", "open_engine"]
