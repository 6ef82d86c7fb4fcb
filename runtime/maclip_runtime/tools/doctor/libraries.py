"""The shared libraries behind onnxruntime's providers, and those that they need and do not find."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

LOOK_SECONDS = 60.0
CUDA_WHEELS = "pip install 'onnxruntime-gpu[cuda,cudnn]', or install them from your system"
BUILT_IN = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}  # by the end of the file's name
# By the beginning of a library's name: what brings it.
FIXES = {
    "libcuda.so": "install NVIDIA's driver (there is no need of it without an NVIDIA GPU)",
    "libnvidia-": "install NVIDIA's driver (there is no need of it without an NVIDIA GPU)",
    "libcudnn": CUDA_WHEELS,
    "libcu": CUDA_WHEELS,
    "libnvrtc": CUDA_WHEELS,
    "libnvJitLink": CUDA_WHEELS,
    "libnvinfer": "--device tensorrt needs none of it: pip install 'maclip[tensorrt]'",
    "libnvonnxparser": "--device tensorrt needs none of it: pip install 'maclip[tensorrt]'",
}

# In a process of its own: what it loads must not stay in ours, and a broken library may end it. The libraries that
# onnxruntime would load first count as found. argv: files; stdout: {file: [names]}.
LOOK = """
import contextlib, ctypes, json, os, subprocess, sys
with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Exception):
    import onnxruntime
    onnxruntime.preload_dlls()
def lacks(file):
    lines = subprocess.run(["ldd", file], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    for name in sorted({line.split()[0] for line in lines.splitlines() if "not found" in line and "=>" in line}):
        try:
            ctypes.CDLL(name)
        except OSError:
            yield name
print(json.dumps({file: list(lacks(file)) for file in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class SharedLibrary:
    """One provider's library: its file's name, the provider it is of, and what it needs that is not here."""

    file: str
    provider: str
    lacks: tuple[str, ...]

    @property
    def fix(self) -> str:
        """What brings the libraries that are lacking, each remedy once."""
        found = [
            next((fix for start, fix in FIXES.items() if name.startswith(start)), f"install what holds {name}")
            for name in self.lacks
        ]
        return "; ".join(dict.fromkeys(found))


def provider_libraries(plugins: dict[str, Path]) -> tuple[SharedLibrary, ...]:
    """The libraries of the providers that onnxruntime was built with, and of plug-ins by name; on Linux only."""
    files = dict(_built_in()) | {str(path): name for name, path in plugins.items()}
    if not files or shutil.which("ldd") is None:
        return ()
    lacks = _lacks(files)
    return tuple(SharedLibrary(Path(file).name, files[file], tuple(lacks[file])) for file in files if file in lacks)


def _built_in() -> Iterable[tuple[str, str]]:
    spec = find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for file in sorted(Path(folder, "capi").glob("libonnxruntime_providers_*.so")):
            if (name := file.stem.removeprefix("libonnxruntime_providers_")) in BUILT_IN:
                yield str(file), BUILT_IN[name]


def _lacks(files: Iterable[str]) -> dict[str, list[str]]:
    try:
        looked = subprocess.run(
            [sys.executable, "-c", LOOK, *files], capture_output=True, text=True, timeout=LOOK_SECONDS, check=True
        )
        found: dict[str, list[str]] = json.loads(looked.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return found
