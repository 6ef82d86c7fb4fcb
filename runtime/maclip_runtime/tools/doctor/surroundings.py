"""What else a device may need: optional extras, cameras, GStreamer, a writable cache."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from maclip_runtime.engines.cache import default_cache

# Extra of maclip: its modules and its purpose.
EXTRAS = {
    "text": (("tokenizers", "ftfy"), "names outside the vocabulary (bundles with --text-encoder)"),
    "sign": (("model_signing", "OpenSSL"), "maclip-run verify"),
    "mqtt": (("paho",), "events to an MQTT broker"),
    "metrics": (("prometheus_client",), "Prometheus metrics"),
    "ros": (("rosbags",), "recordings of ROS (bag:)"),
    "archive": (("pyarrow",), "maclip-run index and find"),
    "serve": (("fastapi", "uvicorn", "websockets"), "maclip-run serve"),
    "notify": (("apprise",), "messages to people"),
    "figures": (("matplotlib",), "figures of bench and calibrate"),
    "openvino": (("openvino",), "--device openvino"),
    "tensorrt": (("tensorrt", "cuda"), "--device tensorrt"),
    "rtx": (("tensorrt_rtx", "cuda"), "--device rtx"),
}


@dataclass(frozen=True)
class Extra:
    """An extra of maclip, whether all its modules are installed, and its purpose."""

    name: str
    installed: bool
    purpose: str


@dataclass(frozen=True)
class Camera:
    """A video device, and whether this user may read it."""

    path: str
    name: str
    readable: bool


def extras() -> tuple[Extra, ...]:
    """All extras of maclip that a device may use."""
    return tuple(
        Extra(name, all(find_spec(module) is not None for module in modules), purpose)
        for name, (modules, purpose) in EXTRAS.items()
    )


def cameras(devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux")) -> tuple[Camera, ...]:
    """The system's video devices and their drivers' names for them."""
    found = []
    for path in sorted(devices.glob("video*")):
        try:
            name = (names / path.name / "name").read_text(errors="replace").strip()
        except OSError:
            name = ""
        found.append(Camera(str(path), name, os.access(path, os.R_OK | os.W_OK)))
    return tuple(found)


def cache_fault(folder: Path | None = None) -> str:
    """Why the cache cannot be written, or ""; `folder` (default: the user's cache) is not created."""
    folder = folder or default_cache()
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"
