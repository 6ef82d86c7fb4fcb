"""Where each node of a graph really ran, read from onnxruntime's own profile of the first run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

CPU = "CPUExecutionProvider"
CONTROL = ("If", "Loop", "Scan")  # what they do is done by the nodes inside them, which are listed too
WHOLE_NUMBERS = ("int64", "int32", "bool")
FEW_BYTES = 1024
NODES_NAMED = 3


@dataclass(frozen=True)
class Placement:
    """Where the nodes of one graph ran: how many with each provider, and which strayed from the one asked for."""

    graph: str
    provider: str
    nodes: dict[str, int]
    strays: tuple[str, ...]

    def __str__(self) -> str:
        """The strays in words: `2 of 41 nodes of visual ran on CPU: Einsum_3 (Einsum), Round_7 (Round)`."""
        more = len(self.strays) - NODES_NAMED
        named = ", ".join(self.strays[:NODES_NAMED]) + (f" and {more} more" if more > 0 else "")
        others = " and ".join(provider for provider in self.nodes if provider != self.provider)
        total = sum(self.nodes.values())
        return f"{len(self.strays)} of {total} nodes of {self.graph} ran on {others}: {named}"


def read_profile(text: str, graph: str, provider: str) -> Placement:
    """What a profile (onnxruntime's JSON, a list of events) says of a run that was to be on `provider`.

    A node on another provider has strayed, but for what onnxruntime keeps on the CPU by design: sizes, indices and
    flags, that is nodes that yield nothing but whole numbers or booleans, at most 1 KiB of them (onnxruntime's
    `GetCpuPreferredNodes`; a GPU would wait for them), and control flow, whose bodies are counted themselves. A
    node that yields fractions is never excused, however small: features, distances and weights are fractions.
    Raises ValueError where the text is no profile of a run.
    """
    nodes: Counter[str] = Counter()
    strays: dict[str, None] = {}
    for event in json.loads(text):
        facts = event.get("args", {})
        # A node has also events for its fences, in releases that had them: they name no provider.
        if event.get("cat") != "Node" or not facts.get("provider"):
            continue
        nodes[facts["provider"]] += 1
        if facts["provider"] != provider and not _kept_on_cpu(facts):
            strays[f"{event['name'].removesuffix('_kernel_time')} ({facts['op_name']})"] = None
    if not nodes:
        raise ValueError("the profile names no node")
    return Placement(graph, provider, dict(nodes), tuple(strays))


def _kept_on_cpu(facts: dict[str, Any]) -> bool:
    if facts["provider"] != CPU:
        return False
    if facts["op_name"] in CONTROL:
        return True
    outputs = [dtype for output in facts.get("output_type_shape", []) for dtype in output]
    small = int(facts.get("output_size", FEW_BYTES + 1)) <= FEW_BYTES
    return bool(outputs) and small and all(dtype in WHOLE_NUMBERS for dtype in outputs)
