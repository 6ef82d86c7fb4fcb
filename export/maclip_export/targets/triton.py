"""A model repository for NVIDIA's Triton Inference Server from a finished bundle: one model for each graph.

A bundle with stem and tower gets `maclip_visual` too, both in one: a client that sends frames gets features back, and
no tokens travel.

The fields are those of Triton's `model_config.proto`, written as text without protobuf.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx

from maclip_export.folders import new_folder
from maclip_export.targets.visual import external_files, write_visual
from maclip_runtime.bundle.manifest import GraphSpec, Manifest, TensorSpec
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.served import PREFIX, batch_axis, client_dims, served_graphs

CONFIG_FILE, MODEL_FILE, VERSION = "config.pbtxt", "model.onnx", "1"
TYPES = {
    "uint8": "TYPE_UINT8", "bool": "TYPE_BOOL", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "float16": "TYPE_FP16", "float32": "TYPE_FP32",
}  # fmt: skip
# Largest batch by its axis: a clip costs eight frames, a prototype only a small module.
MAX_BATCH = {"B": 16, "F": 64, "C": 256}
OTHER_MAX_BATCH = 32
QUEUE_DELAY_US = 2000  # for which a request waits for others; a clip takes tens of milliseconds
WARM_UP_SIZES = {"B": 1, "C": 5}  # of free axes that are not batched


def write_repository(bundle: Path, out: Path, force: bool = False) -> list[str]:
    """Write the graphs of `bundle` as models `maclip_GRAPH` into the folder `out`; returns the names of the models.

    Names, types and shapes come from the manifest. Raises `bundle-*`, `output-exists` (unless `force`, which replaces a
    folder that holds only such models) and `output-unwritable`.
    """
    opened = Bundle.open(bundle)
    models = []
    with new_folder(out, force, _is_ours, "model repository of maclip") as folder:
        for name, graph in served_graphs(opened.manifest).items():
            model = PREFIX + name
            place = folder / model / VERSION
            place.mkdir(parents=True)
            if name in opened.manifest.graphs:
                _copy_graph(opened.graph_file(name), place)
            else:
                write_visual(opened, place / MODEL_FILE)
            (folder / model / CONFIG_FILE).write_text(config_text(model, graph, opened.manifest), encoding="utf-8")
            models.append(model)
    return models


def config_text(model: str, graph: GraphSpec, manifest: Manifest) -> str:
    """The `config.pbtxt` of one graph.

    The server batches a graph along its free axis if all tensors begin with that axis and have no other free one.
    A graph with two free axes (`match`: queries and classes) is not batched.
    """
    axis = batch_axis(graph)
    largest = MAX_BATCH.get(axis, OTHER_MAX_BATCH) if axis is not None else 0
    lines = [
        f'name: "{model}"',
        'platform: "onnxruntime_onnx"',
        'backend: "onnxruntime"',
        f'default_model_filename: "{MODEL_FILE}"',
        f"max_batch_size: {largest}",
        *_tensors("input", graph.inputs, axis),
        *_tensors("output", graph.outputs, axis),
        "version_policy { latest { num_versions: 1 } }",
        "instance_group [ { count: 1 kind: KIND_AUTO } ]",
    ]
    if axis is not None:
        preferred = f"[ {largest // 4}, {largest // 2}, {largest} ]"
        lines += [
            "dynamic_batching {",
            f"  preferred_batch_size: {preferred}",
            f"  max_queue_delay_microseconds: {QUEUE_DELAY_US}",
            "}",
        ]
    for batch in [1, largest] if axis is not None else [1]:
        lines += _warm_up(graph, axis, batch)
    facts = {"contract": manifest.contract, "precision": manifest.precision, "tool_version": manifest.tool_version}
    for key, value in facts.items():
        lines.append(f'parameters {{ key: "{PREFIX}{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: tuple[TensorSpec, ...], axis: str | None) -> list[str]:
    lines = []
    for tensor in tensors:
        lines += [f"{kind} {{", f'  name: "{tensor.name}"', f"  data_type: {TYPES[tensor.dtype]}"]
        lines.append(f"  dims: {_listed(client_dims(tensor, axis))}")
        # Triton has no tensors without dimensions: one number for each item of a batch is [1] for clients.
        if axis is not None and len(tensor.shape) == 1:
            lines.append("  reshape { shape: [ ] }")
        lines.append("}")
    return lines


def _warm_up(graph: GraphSpec, axis: str | None, batch: int) -> list[str]:
    """A run with zeros before the server reports the model as ready, so that memory and kernels are ready too."""
    lines = ["model_warmup {", f'  name: "zeros of {batch}"', f"  batch_size: {batch}"]
    for tensor in graph.inputs:
        free = [WARM_UP_SIZES.get(n, 1) for n in tensor.shape if isinstance(n, str)]
        dims = [free.pop(0) if n == -1 else n for n in client_dims(tensor, axis)]
        lines += [
            "  inputs {",
            f'    key: "{tensor.name}"',
            f"    value {{ data_type: {TYPES[tensor.dtype]} dims: {_listed(dims)} zero_data: true }}",
            "  }",
        ]
    return [*lines, "}"]


def _listed(numbers: list[int]) -> str:
    return f"[ {', '.join(map(str, numbers))} ]"


def _copy_graph(graph: Path, place: Path) -> None:
    """Copy the graph as `model.onnx`, and its weights under the names that it refers to.

    Not links: readers of ONNX refuse linked weights as a way out of the folder.
    """
    shutil.copyfile(graph, place / MODEL_FILE)
    for name in external_files(onnx.load(graph, load_external_data=False)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(graph.parent / name, place / name)


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds only models of ours: others are not replaced."""
    return all(entry.name.startswith(PREFIX) and (entry / CONFIG_FILE).is_file() for entry in folder.iterdir())
