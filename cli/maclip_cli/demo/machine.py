"""What the figures were measured on, for the report."""

from __future__ import annotations

from maclip_runtime.tools.measuring.machine import machine_facts

PACKAGES = ("maclip", "torch", "open_clip_torch", "onnxruntime", "numpy", "av")


def machine_rows() -> dict[str, str]:
    """Processor, cores, system, versions and, in a git checkout, the commit, each under its heading."""
    facts = machine_facts()
    rows = {
        "Processor": facts["processor"],
        "Cores": str(facts["cores"]),
        "System": facts["system"],
        "Python": facts["python"],
        **{name: facts["libraries"][name] for name in PACKAGES if name in facts["libraries"]},
    }
    return rows | ({"Commit": facts["commit"]} if facts["commit"] else {})
