"""A real Triton server on this machine, for tests and benchmarks: the one that the wheel `nvidia-pytriton` carries.

It has Triton's Python backend and no other, so each exported model is served by a few lines of Python that run the
model's own `model.onnx` with onnxruntime. Everything else of the exported `config.pbtxt` counts as it is: names, types,
shapes, dynamic batching, warm-up, parameters.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from maclip_runtime.bundle.served import PREFIX
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

START_SECONDS = 60.0
MODEL = """
import json, os, time
import numpy as np
import onnxruntime
import triton_python_backend_utils as utils

class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("SERVED_THREADS", "1"))
        file = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = [(one["name"], bool(one.get("reshape"))) for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]
        self.batched = config["max_batch_size"] > 0
        self.delay_s = float(os.environ.get("SERVED_DELAY", "0"))
        self.log = os.environ.get("SERVED_LOG")

    def execute(self, requests):
        time.sleep(self.delay_s)
        if self.log:
            with open(self.log, "a") as file:
                print(len(requests), file=file)
        given = [
            {name: np.from_dlpack(utils.get_input_tensor_by_name(request, name)) for name, _ in self.inputs}
            for request in requests
        ]
        rows = [len(one[self.inputs[0][0]]) for one in given]
        if not self.batched:
            return [self.answer(self.session.run(self.outputs, one)) for one in given]
        feeds = {name: np.concatenate([one[name] for one in given]) for name, _ in self.inputs}
        feeds = {name: feeds[name].reshape(-1) if flat else feeds[name] for name, flat in self.inputs}
        made = self.session.run(self.outputs, feeds)
        ends = np.cumsum(rows)[:-1]
        return [self.answer(parts) for parts in zip(*(np.split(array, ends) for array in made))]

    def answer(self, arrays):
        # By DLPack: this backend was compiled for numpy 1 and takes arrays of numpy 2 as empty.
        return utils.InferenceResponse(
            [utils.Tensor.from_dlpack(name, np.array(array)) for name, array in zip(self.outputs, arrays)]
        )
"""


WHEEL = Path(sys.prefix) / "share" / "pytriton"
GET = f"pip install --no-deps --target {WHEEL} nvidia-pytriton==0.7.0"  # it asks for another numpy, but does not use it


def program() -> Path | None:
    """The server's program; None where the wheel is not there."""
    file = WHEEL / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    return file if file.is_file() else None


class TritonServer:
    """Serves a model repository that `maclip export --triton` wrote, in a process of its own. Use it in a `with` block.

    repository: the folder; it is copied.
    graphs: those that are served: each model starts a Python of its own.
    options: more options for `tritonserver`.
    environment: for the models: SERVED_THREADS, SERVED_DELAY (seconds a batch), SERVED_LOG (a file that gets the size
        of each batch).

    Raises `device-missing` where the wheel is not installed or the server does not start.
    """

    def __init__(
        self,
        repository: Path,
        *,
        graphs: Sequence[str] = ("visual", "tower"),
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="maclip-triton-")
        self._options, self._environment = list(options), environment or {}
        self.port = _free_port()
        self.models = Path(self._scratch.name) / "models"
        self.log = Path(self._scratch.name) / "log"
        self._running: subprocess.Popen[bytes] | None = None
        copy_models(repository, self.models, graphs)

    @property
    def device(self) -> str:
        """The --device value."""
        return f"triton:grpc://127.0.0.1:{self.port}"

    def start(self) -> TritonServer:
        """Start the server; returns once it listens, with all models ready."""
        file = program()
        if file is None:
            raise _missing("the wheel nvidia-pytriton is not there")
        file.chmod(0o755)
        command = [
            *(str(file), f"--model-repository={self.models}", f"--grpc-port={self.port}", "--grpc-address=127.0.0.1"),
            *("--allow-http=false", "--allow-metrics=false", "--exit-timeout-secs=1", "--log-info=true"),
            *(f"--backend-directory={self._backends(file.parents[1])}", *self._options),
        ]
        paths = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = {"PATH": paths, "PYTHONPATH": _packages(), "OMP_NUM_THREADS": "1", **self._environment}
        environment["LD_LIBRARY_PATH"] = str(WHEEL / "nvidia_pytriton.libs")
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_SECONDS
        while b"Started GRPCInferenceService" not in self.log.read_bytes():
            if self._running.poll() is not None or time.monotonic() > until:
                self.kill()
                raise _missing(f"the server did not start ({self.log.read_text(errors='replace')[-600:]})")
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """End the server without any notice to its clients."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.terminate()  # the models' processes end with it
            try:
                self._running.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._scratch.cleanup()

    def _backends(self, home: Path) -> Path:
        """A folder with the Python backend and its program for this Python, as `pytriton` makes it."""
        place = Path(self._scratch.name) / "backends"
        if not place.exists():
            shutil.copytree(home / "backends" / "python", place / "python")
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
            if not stub.is_file():
                raise _missing(f"the wheel has no program for Python {version}")
            shutil.copy(stub, place / "python" / stub.name)
            (place / "python" / stub.name).chmod(0o755)
        return place


def copy_models(repository: Path, out: Path, graphs: Sequence[str]) -> None:
    """Copy the models of these graphs so that Triton's Python backend serves them."""
    out.mkdir()
    for model in (f"{PREFIX}{graph}" for graph in graphs):
        if (repository / model).is_dir():
            shutil.copytree(repository / model, out / model)
    for config in out.glob("*/config.pbtxt"):
        text = config.read_text(encoding="utf-8")
        text = re.sub(r"^platform: .*\n|^default_model_filename: .*\n", "", text, flags=re.M)
        config.write_text(text.replace('backend: "onnxruntime"', 'backend: "python"'), encoding="utf-8")
        (config.parent / "1" / "model.py").write_text(MODEL, encoding="utf-8")


def _packages() -> str:
    return ":".join(path for path in sys.path if path.endswith("site-packages"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _missing(why: str) -> MaclipError:
    return MaclipError(
        "device-missing", f"There is no Triton server to measure with: {why}.",
        f"On Linux and x86-64: {GET}.", EXIT_MACHINE_LACKS,
    )  # fmt: skip
