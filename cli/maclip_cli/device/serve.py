"""`maclip-run serve`: a page in the browser for watching, teaching and reviewing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from maclip_cli.console import people
from maclip_cli.device.decisions import (
    DurationOption,
    GapOption,
    LimitOption,
    MarginOption,
    OverlapOption,
    ScoreOption,
    decisions_of,
)
from maclip_cli.device.options import (
    AllowFallbackOption,
    BundleOption,
    DeviceOption,
    GalleryOption,
    InsecureOption,
    ThreadsOption,
    TrustEnginesOption,
    open_recognizer,
)
from maclip_cli.device.outputs import (
    EvidenceAgeOption,
    EvidenceOption,
    EvidenceSizeOption,
    HomeAssistantOption,
    KeepOption,
    LogOption,
    MessageOption,
    MetricsOption,
    OutputOptions,
    RotateOption,
    ToOption,
    open_outputs,
)
from maclip_cli.device.recognize import named, source_options
from maclip_runtime.errors import MaclipError

PORT = 8008
SERVER = "Server"


def serve(
    bundle: BundleOption,
    gallery: GalleryOption,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="A camera (0, /dev/video0, rtsp://, http://) or a video, which is played again and again; NAME=SOURCE "
            "gives it a name. May be repeated. Without any, clips are taught from files and the browser's camera.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to serve at; any but this machine's own needs the token.", rich_help_panel=SERVER),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve at; 0 takes a free one.", rich_help_panel=SERVER)
    ] = PORT,
    token: Annotated[
        bool, typer.Option("--token", help="Require the token on this machine too.", rich_help_panel=SERVER)
    ] = False,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another token; the old one ends.", rich_help_panel=SERVER)
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve https:// with this PEM.", rich_help_panel=SERVER)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's key, PEM.", rich_help_panel=SERVER)
    ] = None,
    device: DeviceOption = "auto",
    allow_fallback: AllowFallbackOption = False,
    threads: ThreadsOption = None,
    trust_engines: TrustEnginesOption = False,
    window: Annotated[
        float | None, typer.Option(help="Length of a window in seconds; default: 3/4 of an enrolled clip.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds between windows; default: a quarter of the window.")
    ] = None,
    motion_gate: Annotated[
        float | None, typer.Option(metavar="LEVELS", help="Skip pictures that change less, as in `recognize`.")
    ] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y,W,H", help="Use only this part of the picture; once, or once for each source."),
    ] = None,
    stall: Annotated[
        float | None, typer.Option(help="Seconds without a frame after which a camera is reconnected.")
    ] = None,
    insecure: InsecureOption = False,
    min_score: ScoreOption = 0.0,
    limit: LimitOption = None,
    margin: MarginOption = None,
    min_duration: DurationOption = None,
    gap: GapOption = None,
    overlap: OverlapOption = False,
    to: ToOption = None,
    rotate_mb: RotateOption = 10.0,
    keep: KeepOption = 5,
    home_assistant: HomeAssistantOption = False,
    message_seconds: MessageOption = 60.0,
    evidence: EvidenceOption = None,
    evidence_mb: EvidenceSizeOption = 1000.0,
    evidence_days: EvidenceAgeOption = 30.0,
    metrics: MetricsOption = None,
    log: LogOption = None,
) -> None:
    """Serve a page on which people watch, teach, review and look after the gallery."""
    from maclip_runtime.serve.server import Address, bind, make_server, require_packages

    require_packages()
    if key is not None and certificate is None:
        raise MaclipError("option-invalid", "A key was given without its certificate.", "Give --certificate FILE.")
    from maclip_runtime.serve.access import Access
    from maclip_runtime.serve.app import build_app
    from maclip_runtime.serve.state import State
    from maclip_runtime.serve.studio import Studio

    decisions = decisions_of(
        True,
        "0",
        min_score=min_score,
        limit=limit,
        min_margin=margin,
        min_duration_s=min_duration,
        gap_s=gap,
        overlap=overlap,
    )
    pairs = [named(text) for text in source or []]
    options = source_options([name for name, _ in pairs], roi or [], stall, None, True, insecure) if pairs else []
    wanted = OutputOptions(
        to=to or [],
        rotate_mb=rotate_mb,
        keep=keep,
        home_assistant=home_assistant,
        message_s=message_seconds,
        evidence=evidence,
        evidence_mb=evidence_mb,
        evidence_days=evidence_days,
        metrics=metrics,
        log=log,
    )
    wanted.start_logs()
    address = Address(host, port, certificate, key)
    console = people()
    state = State(gallery.absolute())
    access = Access(state, required=token or not address.is_local)
    made = access.make_token(new=new_token)
    listening = bind(address)
    addresses = [uri for _, uri in pairs]
    with (
        listening,
        open_recognizer(bundle, gallery, device, decisions, allow_fallback, threads, trust_engines) as recognizer,
        open_outputs(wanted, addresses, recognizer.gallery) as outputs,
    ):
        kept = next(iter(outputs.evidence), None)
        studio = Studio(
            recognizer,
            list(zip(addresses, options, strict=True)),
            state,
            window_s=window,
            hop_s=hop,
            motion_gate=motion_gate,
            callbacks=[one for one in outputs.callbacks if one is not kept],
            evidence=kept,
        )
        with studio:
            server = make_server(build_app(studio, access, metrics_url=outputs.metrics_url), address)
            if made is not None:
                console.print(escape(f"token: {made}"), soft_wrap=True)
                console.print("It is shown this once; --new-token makes another.", soft_wrap=True)
            console.print(escape(f"open {address.url(listening.getsockname()[1])}"), soft_wrap=True)
            server.run(sockets=[listening])
