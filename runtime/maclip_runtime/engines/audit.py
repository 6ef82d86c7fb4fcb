"""Where each node of a graph ran, read from onnxruntime's profile of the first run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

CPU = "CPUExecutionProvider"
CONTROL_FLOW = ("If", "Loop", "Scan")  # the nodes of their bodies are listed themselves
INDEX_DTYPES = ("int64", "int32", "bool")
MAX_INDEX_BYTES = 1024
MAX_NODES_NAMED = 3


@dataclass(frozen=True)
class Placement:
    """Where the nodes of one graph ran.

    `provider` is the execution provider that was asked for, `nodes` the number of nodes by provider, `fallback_nodes`
    those that ran elsewhere, as "name (operator)".
    """

    graph: str
    provider: str
    nodes: dict[str, int]
    fallback_nodes: tuple[str, ...]

    def __str__(self) -> str:
        """In words: `2 of 41 nodes of visual ran on CPU: Einsum_3 (Einsum), Round_7 (Round)`."""
        more = len(self.fallback_nodes) - MAX_NODES_NAMED
        named = ", ".join(self.fallback_nodes[:MAX_NODES_NAMED]) + (f" and {more} more" if more > 0 else "")
        others = " and ".join(provider for provider in self.nodes if provider != self.provider)
        total = sum(self.nodes.values())
        return f"{len(self.fallback_nodes)} of {total} nodes of {self.graph} ran on {others}: {named}"


def read_profile(text: str, graph: str, provider: str) -> Placement:
    """Read onnxruntime's profile (JSON, a list of events) of a run that should have been on `provider`.

    A node on another provider is a fallback node, except for those that onnxruntime keeps on the CPU by design: nodes
    whose outputs are integers or booleans of at most 1 KiB, i.e. shapes, indices and flags (onnxruntime's
    `GetCpuPreferredNodes`), and control flow. A node with a floating-point output always counts: features, distances
    and weights are floating-point. Raises ValueError where `text` is not the profile of a run.
    """
    nodes: Counter[str] = Counter()
    fallback_nodes: dict[str, None] = {}
    for event in json.loads(text):
        facts = event.get("args", {})
        # Older onnxruntime also writes events for a node's fences; they have no provider.
        if event.get("cat") != "Node" or not facts.get("provider"):
            continue
        nodes[facts["provider"]] += 1
        if facts["provider"] != provider and not _kept_on_cpu(facts):
            fallback_nodes[f"{event['name'].removesuffix('_kernel_time')} ({facts['op_name']})"] = None
    if not nodes:
        raise ValueError("the profile names no node")
    return Placement(graph, provider, dict(nodes), tuple(fallback_nodes))


def _kept_on_cpu(facts: dict[str, Any]) -> bool:
    if facts["provider"] != CPU:
        return False
    if facts["op_name"] in CONTROL_FLOW:
        return True
    outputs = [dtype for output in facts.get("output_type_shape", []) for dtype in output]
    small = int(facts.get("output_size", MAX_INDEX_BYTES + 1)) <= MAX_INDEX_BYTES
    return bool(outputs) and small and all(dtype in INDEX_DTYPES for dtype in outputs)
