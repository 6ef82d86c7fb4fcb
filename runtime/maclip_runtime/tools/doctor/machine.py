"""Facts about the machine, and the versions of the libraries that matter."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from maclip_runtime.engines.base import usable_cores

# Instruction sets that affect speed, of x86 and Arm: vector widths, int8 and bfloat16 products.
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
ARM_FLAGS = ("asimddp", "i8mm", "bf16", "sve")
LIBRARIES = ("numpy", "av", "pillow", "safetensors", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
ONNXRUNTIME_MODULE = ("onnxruntime", "__init__.py")


def machine_facts() -> dict[str, str]:
    """System, processor, cores, memory, and on a Jetson the board and the JetPack release."""
    cpu = _fields(Path("/proc/cpuinfo"))
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    known = [flag for flag in (*CPU_FLAGS, *ARM_FLAGS) if flag in flags]
    facts = {
        "system": platform.platform(),
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(known),
        "cores": f"{usable_cores()} usable, {os.cpu_count()} hardware threads in total",
        "memory": _memory(),
        "board": _text(Path("/proc/device-tree/model")),
        "JetPack release": _text(Path("/etc/nv_tegra_release")).split(", GCID")[0].lstrip("# "),
        "NVIDIA driver": _text(Path("/proc/driver/nvidia/version")),
    }
    return {name: value for name, value in facts.items() if value}


def library_versions() -> dict[str, str | None]:
    """Versions by name; None where a library is not installed. onnxruntime is listed by its wheel's name."""
    found: dict[str, str | None] = {"python": sys.version.split()[0], "maclip": _version("maclip")}
    for name in LIBRARIES:
        if name != "onnxruntime":
            found[name] = _version(name)
            continue
        wheels = onnxruntime_wheels()
        found |= wheels or {"onnxruntime": None}
    if found["av"] is not None:
        import av

        found["FFmpeg"] = getattr(av, "ffmpeg_version_info", None)
    return found


def onnxruntime_wheels() -> dict[str, str | None]:
    """The versions of the installed wheels with the module `onnxruntime`; several overwrite each other."""
    found: dict[str, str | None] = {}
    for wheel in distributions():
        name = str(wheel.metadata["Name"] or "")
        if name.startswith(("onnxruntime", "ort-")) and any(
            file.parts[-2:] == ONNXRUNTIME_MODULE and len(file.parts) == 2 for file in wheel.files or ()
        ):
            found[name] = wheel.version
    return dict(sorted(found.items()))


def has_nvidia_gpu() -> bool:
    """Whether the system has an NVIDIA GPU, usable or not; /dev/nvhost-gpu is a Jetson's."""
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu"))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory() -> str:
    total = _fields(Path("/proc/meminfo")).get("MemTotal", "").split()
    return f"{int(total[0]) / 2**20:.1f} GiB" if total else ""


def _fields(file: Path) -> dict[str, str]:
    """The first value of each `name: value` line."""
    found: dict[str, str] = {}
    for line in _text(file, whole=True).splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _text(file: Path, whole: bool = False) -> str:
    try:
        text = file.read_text(errors="replace").replace("\0", "")
    except OSError:
        return ""
    return text if whole else (text.strip().splitlines() or [""])[0]
