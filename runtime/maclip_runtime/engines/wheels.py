"""Where onnxruntime's CUDA build is to be had: on PyPI for x86-64, on other indexes for aarch64."""

from __future__ import annotations

import platform
import re
from pathlib import Path

L4T_RELEASE = Path("/etc/nv_tegra_release")  # "# R36 (release), REVISION: 4.0, ..." on a Jetson
JETPACK_6 = "36"  # the release of its Linux for Tegra
# microsoft/onnxruntime, issue 27944; for Jetsons with JetPack 7, Grace and other servers.
CUDA_13_INDEX = "https://aiinfra.pkgs.visualstudio.com/PublicPackages/_packaging/onnxruntime-cuda-13/pypi/simple/"
# dusty-nv/jetson-containers, issue 1283.
JETPACK_6_INDEX = "https://pypi.jetson-ai-lab.io/jp6/cu126"


def cuda_fix() -> str:
    """How to install onnxruntime's CUDA build on this machine, as the fix of an error."""
    if platform.machine() != "aarch64":
        return "Install its CUDA build: pip uninstall onnxruntime, then pip install 'maclip[gpu]'"
    return (
        f"Its CUDA build for aarch64 is not on PyPI: pip uninstall onnxruntime, then pip install --no-deps "
        f"--index-url {cuda_index()} onnxruntime-gpu (docs/devices.md)"
    )


def cuda_index() -> str:
    """The index of wheels with onnxruntime's CUDA build for this aarch64 machine."""
    return JETPACK_6_INDEX if _l4t() == JETPACK_6 else CUDA_13_INDEX


def _l4t() -> str:
    """The release of Linux for Tegra, "" where this is no Jetson."""
    try:
        found = re.match(r"#?\s*R(\d+)", L4T_RELEASE.read_text(errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""
