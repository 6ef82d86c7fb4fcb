"""The shared libraries of onnxruntime's providers, and the dependencies that are missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PROBE_SECONDS = 60.0
CUDA_WHEELS = "pip install 'onnxruntime-gpu[cuda,cudnn]', or install them from your system"
BUILT_IN = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}  # by the file name's suffix
# By the prefix of a library's name.
FIXES = {
    "libcuda.so": "install NVIDIA's driver (needed only with an NVIDIA GPU)",
    "libnvidia-": "install NVIDIA's driver (needed only with an NVIDIA GPU)",
    "libcudnn": CUDA_WHEELS,
    "libcu": CUDA_WHEELS,
    "libnvrtc": CUDA_WHEELS,
    "libnvJitLink": CUDA_WHEELS,
    "libnvinfer": "use --device tensorrt, which does not need it: pip install 'maclip[tensorrt]'",
    "libnvonnxparser": "use --device tensorrt, which does not need it: pip install 'maclip[tensorrt]'",
}

# Runs in a child process, because a broken library may crash it. Libraries that onnxruntime preloads count as found.
# argv: files; stdout: {file: [missing names]}.
PROBE = """
import contextlib, ctypes, json, os, subprocess, sys
with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Exception):
    import onnxruntime
    onnxruntime.preload_dlls()
def missing(file):
    lines = subprocess.run(["ldd", file], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    for name in sorted({line.split()[0] for line in lines.splitlines() if "not found" in line and "=>" in line}):
        try:
            ctypes.CDLL(name)
        except OSError:
            yield name
print(json.dumps({file: list(missing(file)) for file in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class SharedLibrary:
    """One provider's library: its file name, its provider, and the dependencies that are missing."""

    file: str
    provider: str
    missing: tuple[str, ...]

    @property
    def fix(self) -> str:
        """How to install the missing dependencies."""
        fixes = [
            next((fix for prefix, fix in FIXES.items() if name.startswith(prefix)), f"install the package with {name}")
            for name in self.missing
        ]
        return "; ".join(dict.fromkeys(fixes))


def provider_libraries(plugins: dict[str, Path]) -> tuple[SharedLibrary, ...]:
    """The libraries of onnxruntime's own providers and of `plugins`, a library by provider name; Linux only."""
    files = dict(_built_in()) | {str(path): name for name, path in plugins.items()}
    if not files or shutil.which("ldd") is None:
        return ()
    missing = _missing(files)
    return tuple(SharedLibrary(Path(file).name, files[file], tuple(missing[file])) for file in files if file in missing)


def _built_in() -> Iterable[tuple[str, str]]:
    spec = find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for file in sorted(Path(folder, "capi").glob("libonnxruntime_providers_*.so")):
            if (name := file.stem.removeprefix("libonnxruntime_providers_")) in BUILT_IN:
                yield str(file), BUILT_IN[name]


def _missing(files: Iterable[str]) -> dict[str, list[str]]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *files], capture_output=True, text=True, timeout=PROBE_SECONDS, check=True
        )
        found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return found
