"""Calibrate and Health: limits with their curves, and how the server fares."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter

from maclip_runtime.serve.api.bodies import Calibrating
from maclip_runtime.serve.api.faults import FAULTS
from maclip_runtime.serve.studio import Studio

LIBRARIES = ("maclip", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "av", "fastapi", "uvicorn")


def measuring(studio: Studio, metrics_url: str | None) -> APIRouter:
    """The endpoints; `metrics_url`: where Prometheus reads, if anywhere."""
    router = APIRouter(prefix="/api", responses=FAULTS)

    @router.post("/calibrate", tags=["calibrate"])
    def calibrate(body: Calibrating) -> dict[str, Any]:
        """Set each class's limit, in the background; see `GET /api/calibrate`."""
        for name in body.sources:
            studio.require(name)
        studio.recognizer.index.ready()
        return studio.jobs.start(
            "calibrate",
            lambda progress: studio.calibrate(body.sources, body.seconds, body.false_alarms, progress),
        ).facts()

    @router.get("/calibrate", tags=["calibrate"])
    def calibration() -> dict[str, Any]:
        """The last calibration: its progress, or limits, errors and samples; and the limits that count now."""
        index = studio.recognizer.index.get()
        limits = {} if index is None else dict(zip(index.names, index.limits.tolist(), strict=True))
        job = studio.jobs.get("calibrate")
        shown = {name: None if limit == float("inf") else round(limit, 4) for name, limit in limits.items()}
        calibrated = sorted(studio.recognizer.gallery.limits())
        return {"limits": shown, "calibrated": calibrated, "job": None if job is None else job.facts()}

    @router.delete("/calibrate", tags=["calibrate"])
    def clear() -> dict[str, Any]:
        """Go back to the limits that are measured on the gallery itself."""

        def work() -> dict[str, Any]:
            count = len(studio.recognizer.gallery.limits())
            if count:
                studio.recognizer.gallery.keep_limits([])
            return {"classes": count}

        return studio.teaching.other("clear-limits", work)

    @router.get("/health", tags=["health"])
    def health() -> dict[str, Any]:
        """Device, versions, stage latencies, memory, the gallery and the sources."""
        manifest = studio.recognizer.bundle.manifest
        evidence = studio.evidence
        return {
            "device": studio.recognizer.encoder.device,
            "bundle": {
                "backbone": manifest.backbone.name,
                "metric": manifest.metric,
                "precision": manifest.precision,
                "frames": manifest.frames,
            },
            "versions": _versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "up_s": round(time.time() - studio.begun_at, 1),
            "memory_mb": _memory_mb(),
            "stages": studio.board.stages(),
            "window_s": studio.window_s,
            "gallery": studio.shelf.counts(),
            "sources": studio.board.views(),
            "evidence": None if evidence is None else {"kept": evidence.delivered, "dropped": evidence.dropped},
            "metrics": metrics_url,
        }

    return router


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _memory_mb() -> float | None:
    """The memory that this process has now, in MB; None where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError, IndexError):
        return None
