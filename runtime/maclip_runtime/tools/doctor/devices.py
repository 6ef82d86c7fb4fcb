"""Which devices work on this machine, and where the graphs of a bundle run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maclip_runtime.bundle.manifest import GraphSpec
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.engines.base import (
    ASK_DOCTOR,
    CANNOT_BE_USED,
    OPENVINO,
    OPENVINO_PREFIX,
    TENSORRT_DEVICES,
    is_openvino,
    is_remote,
)
from maclip_runtime.engines.choice import Timing, choose
from maclip_runtime.engines.forms import in_best_form
from maclip_runtime.engines.onnxruntime import OnnxEngine
from maclip_runtime.engines.opening import DEVICES, device_unknown, open_on
from maclip_runtime.engines.openvino import OpenVinoEngine, find_place, has_bf16, import_openvino
from maclip_runtime.engines.providers import (
    PROVIDERS,
    find_provider,
    import_onnxruntime,
    installed_plugins,
    names_provider,
    require_working,
)
from maclip_runtime.engines.remote.address import parse_address
from maclip_runtime.engines.remote.client import RemoteClient
from maclip_runtime.engines.remote.engine import RemoteEngine
from maclip_runtime.engines.tensorrt.cuda import Cuda
from maclip_runtime.engines.tensorrt.library import find_library
from maclip_runtime.errors import MaclipError

NOT_DEVICES = (*PROVIDERS.values(), "AzureExecutionProvider")  # Azure's runs only nodes that our graphs do not have
TRIAL_ROWS = 2  # size of every dynamic axis in a trial run


@dataclass(frozen=True)
class DeviceState:
    """A --device value and what it would run (`message`), or the error that it would give and the fix."""

    device: str
    works: bool
    message: str
    fix: str


@dataclass(frozen=True)
class GraphRun:
    """Where one graph of the bundle ran, in words, and the nodes that ran elsewhere."""

    graph: str
    ran: str
    fallback_nodes: tuple[str, ...]


def device_states(asked: str) -> tuple[DeviceState, ...]:
    """The state of every known device, every installed provider and plug-in, and the one that was asked for."""
    names = [name for name in DEVICES if name != "auto"]
    try:
        names += [name for name in import_onnxruntime().get_available_providers() if name not in NOT_DEVICES]
        names += installed_plugins()
    except MaclipError:
        pass  # reported for "cpu"
    names += _openvino_places()
    if asked != "auto":
        names.append(asked)
    return tuple(_state(name) for name in dict.fromkeys(names))


def _openvino_places() -> list[str]:
    """The GPUs and NPUs that OpenVINO finds, by their --device values."""
    try:
        known = import_openvino(OPENVINO).Core().available_devices
    except MaclipError:
        return []  # reported for "openvino"
    return [f"{OPENVINO_PREFIX}{name}" for name in known if name != "CPU"]


def require_device(device: str) -> str:
    """What a device would run, in words. Raises what `open_engine` raises for the device."""
    if device == "auto":
        device = choose().device
    if is_remote(device):
        return _server(device)
    if is_openvino(device):
        openvino = import_openvino(device)
        core = openvino.Core()
        place = find_place(core, device)
        kind = "float16" if place != "CPU" else "bfloat16" if device == OPENVINO and has_bf16(core) else "float32"
        name = core.get_property(place, "FULL_DEVICE_NAME").strip()
        return f"OpenVINO {openvino.__version__.split('-')[0]} on {name}, in {kind}"
    if device in TENSORRT_DEVICES:
        library = find_library(device)
        return f"{library.name} {library.version}, compute capability {Cuda(device).capability}"
    if not names_provider(device):
        raise device_unknown(device)
    runtime = import_onnxruntime()
    provider = find_provider(runtime, device)
    require_working(runtime, provider)
    return f"onnxruntime {runtime.__version__}, {provider.name}"


def run_graphs(bundle: Bundle, device: str, timings: tuple[Timing, ...] = ()) -> tuple[GraphRun, ...]:
    """Run every graph of a bundle once on zeros and say where it ran; TensorRT engines are not built for it.

    timings: what was measured here, which decides the int8 form that is run.
    """
    if device in TENSORRT_DEVICES:
        return tuple(GraphRun(graph, "as one engine (maclip-run build)", ()) for graph in bundle.manifest.graphs)
    if is_remote(device):
        return _run_remotely(bundle, device)
    bundle = in_best_form(bundle, device, timings)
    engine = (
        open_on(bundle, device)
        if is_openvino(device)
        else OnnxEngine(bundle, find_provider(import_onnxruntime(), device), allow_fallback=True, audit=True)
    )
    runs = []
    for graph, spec in bundle.manifest.graphs.items():
        engine.run(graph, **_zeros(spec))
        if isinstance(engine, OpenVinoEngine):
            counts = ", ".join(f"{count} in {kind}" for kind, count in engine.products(graph).items())
            runs.append(
                GraphRun(graph, f"whole, by OpenVINO on {engine.place(graph)}; products: {counts or 'none'}", ())
            )
        elif isinstance(engine, OnnxEngine) and graph in engine.placements:
            found = engine.placements[graph]
            counts = ", ".join(f"{count} nodes on {name}" for name, count in found.nodes.items())
            runs.append(GraphRun(graph, counts, found.fallback_nodes))
        else:
            runs.append(GraphRun(graph, "unknown", ()))
    return tuple(runs)


def _run_remotely(bundle: Bundle, device: str) -> tuple[GraphRun, ...]:
    engine = RemoteEngine(bundle, device)
    try:
        served = engine.served
    finally:
        engine.close()
    own = f"on this machine ({engine.own_device})"
    return tuple(GraphRun(graph, "on the server" if graph in served else own, ()) for graph in bundle.manifest.graphs)


def _server(device: str) -> str:
    client = RemoteClient(parse_address(device))
    try:
        return client.in_words()
    finally:
        client.close()


def _state(device: str) -> DeviceState:
    try:
        return DeviceState(device, True, require_device(device), "")
    except MaclipError as error:
        # Without the device's name and the hint to run the doctor.
        message, fix = error.message.removeprefix(CANNOT_BE_USED.format(device)), error.fix.replace(ASK_DOCTOR, "")
        return DeviceState(device, False, message, fix)


def _zeros(spec: GraphSpec) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return {
        tensor.name: np.zeros([n if isinstance(n, int) else TRIAL_ROWS for n in tensor.shape], tensor.dtype)
        for tensor in spec.inputs
    }
