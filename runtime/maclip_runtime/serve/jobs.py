"""Work that takes longer than a request: one at a time of each kind, with its progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from maclip_runtime.errors import MaclipError

log = logging.getLogger("maclip")

Progress = Callable[[float, float], None]  # done, of all
Work = Callable[[Progress], Any]


@dataclass
class Job:
    """One piece of work."""

    kind: str
    begun_at: float = field(default_factory=time.time)
    done: float = 0.0
    total: float = 0.0
    state: str = "running"  # or "done", "failed"
    result: Any = None
    error: dict[str, str] | None = None

    def facts(self) -> dict[str, Any]:
        """For the page, as plain values."""
        return {
            "kind": self.kind,
            "begun_at": self.begun_at,
            "done": self.done,
            "total": self.total,
            "state": self.state,
            "result": self.result,
            "error": self.error,
        }


class Jobs:
    """The last job of each kind. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, kind: str, work: Work) -> Job:
        """Start work, unless such work is running. Raises `job-running`."""
        with self._lock:
            before = self._jobs.get(kind)
            if before is not None and before.state == "running":
                raise MaclipError("job-running", "This is being done already.", "Wait until it is done.")
            job = self._jobs[kind] = Job(kind)
        threading.Thread(target=self._run, args=(job, work), name=f"job {kind}", daemon=True).start()
        return job

    def get(self, kind: str) -> Job | None:
        """The last job of a kind; None where there was none."""
        with self._lock:
            return self._jobs.get(kind)

    @staticmethod
    def _run(job: Job, work: Work) -> None:
        def progress(done: float, total: float) -> None:
            job.done, job.total = done, total

        try:
            job.result = work(progress)
        except MaclipError as error:
            job.error = {"code": error.code, "message": error.message, "fix": error.fix}
        except Exception as error:
            log.exception("%s failed", job.kind)
            job.error = {"code": "internal", "message": type(error).__name__, "fix": "Report this."}
        job.state = "failed" if job.error else "done"
