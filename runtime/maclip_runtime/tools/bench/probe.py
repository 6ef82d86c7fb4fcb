"""A fresh process for each measurement: its imports, its memory and its threads are its own.

    python -m maclip_runtime.tools.bench.probe TASK JSON

prints one JSON object: the task's figures, or `{"error": ...}`. The package's `__init__` loads nothing heavy before
`main` has noted when Python was ready.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from typing import Any

TASKS = {"first-answer": "cold", "stream": "stream", "match": "classes", "load": "classes"}


def probe(task: str, limit_s: float | None = None, **values: Any) -> dict[str, Any]:
    """Run one task in a fresh process; its figures.

    `begun` is added to `values`: the monotonic clock just before the process was started, which all processes share.
    Raises the task's own `MaclipError`, `bench-failed` where the process fell over, `TimeoutExpired` after `limit_s`.
    """
    from maclip_runtime.errors import EXIT_OUR_FAULT, MaclipError

    command = [sys.executable, "-m", "maclip_runtime.tools.bench.probe", task]
    done = subprocess.run(
        [*command, json.dumps({"begun": time.monotonic(), **values})],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MaclipError(
            "bench-failed",
            f"The process that measures {task!r} fell over: {said[:300]}.",
            "Run again with MACLIP_DEBUG=1 and report it.",
            EXIT_OUR_FAULT,
        ) from None
    if "error" in answer:
        raise MaclipError(*answer["error"])
    return answer


def main() -> None:
    """The process's own part."""
    ready = time.monotonic()
    task, values = sys.argv[1], json.loads(sys.argv[2])
    values["ready"] = ready
    from maclip_runtime.errors import MaclipError

    try:
        module = import_module(f"maclip_runtime.tools.bench.{TASKS[task]}")
        answer = getattr(module, task.replace("-", "_"))(**values)
    except MaclipError as error:
        answer = {"error": [error.code, error.message, error.fix, error.exit_code]}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
