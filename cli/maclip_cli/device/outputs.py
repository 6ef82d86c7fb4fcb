"""The outputs of `recognize` (events, a video, metrics, logs, a status line): their options, and opening them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maclip_cli import streams
from maclip_cli.console import people
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from rich.console import Console

    from maclip_runtime import Callbacks, Gallery
    from maclip_runtime.evidence import Evidence
    from maclip_runtime.overlay import Overlay
    from maclip_runtime.sinks import Sink, SinkOptions
    from maclip_runtime.telemetry.status import Outlet

log = logging.getLogger("maclip")

OUTPUTS = "Outputs"
STDOUT = "-"
REFRESH_RATE = 2  # of the status line in a terminal, per second


class LogStyle(str, Enum):
    """The format of log lines."""

    TEXT = "text"
    JSON = "json"


ToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="URI",
        help="Send each event as JSON to - (stdout), a file, mqtt[s]://USER:PASSWORD@HOST/TOPIC, a webhook "
        "(http[s]://…), people (apprise://SERVICE://…) or a sink that another package provides. May be repeated.",
        rich_help_panel=OUTPUTS,
    ),
]
RotateOption = Annotated[
    float, typer.Option("--rotate-mb", min=0.001, help="MB at which a file is rotated.", rich_help_panel=OUTPUTS)
]
KeepOption = Annotated[
    int, typer.Option("--keep", min=1, help="How many rotated files are kept.", rich_help_panel=OUTPUTS)
]
HomeAssistantOption = Annotated[
    bool,
    typer.Option(
        "--home-assistant",
        help="Announce sources and actions to Home Assistant, through the broker of --to mqtt://.",
        rich_help_panel=OUTPUTS,
    ),
]
MessageOption = Annotated[
    float,
    typer.Option(
        "--message-seconds",
        min=0,
        help="Least seconds between two messages of apprise:// about one source.",
        rich_help_panel=OUTPUTS,
    ),
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="VIDEO",
        help="Write an .mp4 or .mkv with labels and a timeline drawn on it.",
        rich_help_panel=OUTPUTS,
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="HTML",
        help="Write one HTML file at the end: timeline, match over time, strips of events, latencies.",
        rich_help_panel=OUTPUTS,
    ),
]
EvidenceOption = Annotated[
    Path | None,
    typer.Option(
        "--evidence",
        metavar="DIR",
        help="Keep a strip and a short clip of each event in this folder, named by the event's id.",
        rich_help_panel=OUTPUTS,
    ),
]
EvidenceSizeOption = Annotated[
    float,
    typer.Option(
        "--evidence-mb", min=0.001, help="MB of evidence; the oldest is removed beyond it.", rich_help_panel=OUTPUTS
    ),
]
EvidenceAgeOption = Annotated[
    float,
    typer.Option("--evidence-days", min=0.001, help="Days for which evidence is kept.", rich_help_panel=OUTPUTS),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="Serve Prometheus metrics; default host: 127.0.0.1.",
        rich_help_panel=OUTPUTS,
    ),
]
LogOption = Annotated[
    LogStyle | None,
    typer.Option("--log", help="Log each event and each change of a source on stderr.", rich_help_panel=OUTPUTS),
]
StatusOption = Annotated[
    bool,
    typer.Option(
        "--status",
        help="Show a status line on stderr: sources, frame rate, latency, drops, the last event.",
        rich_help_panel=OUTPUTS,
    ),
]


@dataclass(frozen=True)
class OutputOptions:
    """The options that choose outputs."""

    to: Sequence[str] = ()
    rotate_mb: float = 10.0
    keep: int = 5
    home_assistant: bool = False
    message_s: float = 60.0
    save: Path | None = None
    report: Path | None = None
    evidence: Path | None = None
    evidence_mb: float = 1000.0
    evidence_days: float = 30.0
    metrics: str | None = None
    log: LogStyle | None = None
    status: bool = False

    @property
    def any(self) -> bool:
        """Whether any output is chosen; each needs a stream."""
        return bool(self.to or self.save or self.report or self.evidence or self.metrics or self.log or self.status)

    def start_logs(self) -> None:
        """Set up logging as chosen; called before anything is logged."""
        if self.log:
            from maclip_runtime.telemetry import configure_logs

            configure_logs(self.log.value)


@dataclass(frozen=True)
class Outputs:
    """Open outputs: the callbacks to hand to `watch`, those of them that deliver, and the evidence."""

    callbacks: list[Callbacks] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)  # one, or none
    metrics: list[str] = field(default_factory=list)  # where they are served; one address, or none

    @property
    def metrics_url(self) -> str | None:
        """Where metrics are served; None where they are not."""
        return next(iter(self.metrics), None)

    @property
    def reader_gone(self) -> bool:
        """Whether the reader of stdout has closed the pipe (`| head`)."""
        return any(getattr(sink, "gone", False) for sink in self.sinks)


@contextmanager
def open_outputs(options: OutputOptions, sources: Sequence[str], gallery: Gallery) -> Iterator[Outputs]:
    """Open the chosen outputs; at the end, also on SIGTERM and Ctrl-C, finish them and report what was dropped.

    Raises what `open_sink`, `Overlay` and `Metrics` raise, and at the end the error that ended a video early.
    """
    from maclip_cli.device.ending import ended_politely

    if options.home_assistant and not any(uri.lower().startswith(("mqtt://", "mqtts://")) for uri in options.to):
        raise MaclipError(
            "option-invalid", "--home-assistant needs an MQTT broker.", "Give --to mqtt://USER:PASSWORD@HOST/TOPIC."
        )

    overlay: Overlay | None = None
    outputs = Outputs()
    with ExitStack() as stack:
        outputs.callbacks.append(stack.enter_context(ended_politely()))
        if options.log:
            from maclip_runtime.telemetry import EventLogger

            outputs.callbacks.append(EventLogger())
        for uri in dict.fromkeys(options.to):
            from maclip_runtime.sinks import open_sink

            sink = open_sink(uri, _sink_options(options, gallery))
            outputs.sinks.append(stack.enter_context(sink))
        outputs.callbacks.extend(outputs.sinks)
        if options.save:
            from maclip_runtime.overlay import Overlay

            overlay = stack.enter_context(Overlay(options.save, sources))
            outputs.callbacks.append(overlay)
        if options.report:
            from maclip_runtime.report import Report

            outputs.callbacks.append(stack.enter_context(Report(options.report)))
        if options.evidence:
            outputs.evidence.append(stack.enter_context(_evidence(options)))
        outlets: list[Outlet] = [*outputs.sinks, *([overlay] if overlay else []), *outputs.evidence]
        if options.metrics:
            from maclip_runtime.telemetry.metrics import Metrics

            served = stack.enter_context(Metrics(options.metrics, outlets, gallery))
            outputs.callbacks.append(served)
            outputs.metrics.append(served.url)
        if options.status:
            outputs.callbacks.append(stack.enter_context(_shown(outlets)))
        yield outputs
    if overlay and overlay.problem:
        raise overlay.problem
    for uri, sink in zip(dict.fromkeys(options.to), outputs.sinks, strict=True):
        lost = sink.dropped + (sink.delivered if streams.stdout_closed() else 0)
        if uri != STDOUT or not lost or outputs.reader_gone:
            continue
        raise MaclipError(
            "output-unwritable",
            f"{lost} events could not be written to stdout.",
            "Make room where stdout is written to, or use --to FILE.",
        )


def _sink_options(options: OutputOptions, gallery: Gallery) -> SinkOptions:
    from maclip_runtime.sinks import SinkOptions

    return SinkOptions(
        max_bytes=int(options.rotate_mb * 1e6),
        keep=options.keep,
        actions=ClassNames(gallery) if options.home_assistant else None,
        message_s=options.message_s,
        evidence=options.evidence,
    )


class ClassNames:
    """Called, it names the gallery's classes; they are read again only when the gallery has changed."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._version: tuple[int, int] | None = None
        self._names: list[str] = []

    def __call__(self) -> list[str]:
        """The names as of now; those of a moment ago where the gallery cannot be read."""
        with suppress(MaclipError):
            version = self._gallery.version
            if version != self._version:
                self._names = [info.name for info in self._gallery.classes()]
                self._version = version
        return self._names


def _evidence(options: OutputOptions) -> Evidence:
    from maclip_runtime.evidence import Evidence, EvidenceOptions

    assert options.evidence
    limits = EvidenceOptions(max_bytes=int(options.evidence_mb * 1e6), max_days=options.evidence_days)
    return Evidence(options.evidence, limits)


@contextmanager
def _shown(outlets: Sequence[Outlet]) -> Iterator[Callbacks]:
    """A board whose line is in sight: rewritten in a terminal, else logged now and then, and at the end."""
    from maclip_runtime.telemetry import StatusBoard

    console = people()
    if console.is_terminal:
        board = StatusBoard(outlets)
        with _live(console, board.line):
            yield board
    else:
        board = StatusBoard(outlets, _say)
        yield board
    _say(board.line())


@contextmanager
def _live(console: Console, line: Callable[[], str]) -> Iterator[None]:
    """Keep `line()` at the bottom of the terminal; other output scrolls above it."""
    from rich.live import Live
    from rich.text import Text

    real = sys.stderr
    live = Live(
        get_renderable=lambda: Text(line(), "dim", no_wrap=True, overflow="ellipsis"),
        console=console,
        refresh_per_second=REFRESH_RATE,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with live:
        found = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
        handlers = [one for one in found if one.stream is real]
        for handler in handlers:
            handler.setStream(sys.stderr)  # replaced by `Live`, so that log lines appear above the status line
        try:
            yield
        finally:
            for handler in handlers:
                handler.setStream(real)


def _say(line: str) -> None:
    log.info("status: %s", line)
