"""How a model server shows a bundle's graphs: as the models that `maclip export --triton` writes."""

from __future__ import annotations

from maclip_runtime.bundle.manifest import Census, GraphSpec, Manifest, TensorSpec

PREFIX = "maclip_"  # of a model's name, and of its parameters
CONTRACT_PARAMETER = f"{PREFIX}contract"
VISUAL = "visual"


def served_graphs(manifest: Manifest) -> dict[str, GraphSpec]:
    """The graphs that a server offers, by name: those of the bundle, and `visual` where it has stem and tower.

    `visual` is stem and tower in one, so that no tokens travel between a client and the server.
    """
    graphs = dict(manifest.graphs)
    if "stem" in graphs and "tower" in graphs:
        frames = graphs["stem"].inputs[0]
        tokens, *others = graphs["tower"].inputs
        rows, clip = tokens.shape[:2]
        whole = TensorSpec(frames.name, frames.dtype, (rows, clip, *frames.shape[1:]))
        graphs[VISUAL] = GraphSpec("visual.onnx", (whole, *others), graphs["tower"].outputs, Census({}, {}, 0))
    return graphs


def batch_axis(graph: GraphSpec) -> str | None:
    """The letter of the axis that a server may batch along; None if there is no such axis.

    All tensors begin with it and have no other free one. A graph with two free axes (`match`) is not batched.
    """
    tensors = [*graph.inputs, *graph.outputs]
    firsts = {tensor.shape[0] if tensor.shape else None for tensor in tensors}
    others = any(isinstance(n, str) for tensor in tensors for n in tensor.shape[1:])
    first = firsts.pop()
    return first if isinstance(first, str) and not firsts and not others else None


def client_dims(tensor: TensorSpec, axis: str | None) -> list[int]:
    """The shape that a client sends, without the batch; -1 is a free axis.

    Triton has no tensors without dimensions: one number for each item of a batch is [1] for clients.
    """
    shape = tensor.shape if axis is None else tensor.shape[1:] or (1,)
    return [-1 if isinstance(n, str) else n for n in shape]
