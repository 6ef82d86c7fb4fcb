"""Streams over the network: RTSP cameras, and MJPEG, HLS and recordings over HTTP."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from maclip_runtime.reading.formats import NETWORK_FORMATS
from maclip_runtime.sources.address import redact, scheme_of
from maclip_runtime.sources.connection import Connection, NoPicture
from maclip_runtime.sources.ffmpeg import FFmpegConnection
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

# The protocols that FFmpeg may open in turn: an address leads nowhere else, least of all to this machine's files.
_HTTP = "http,https,tcp,tls,crypto"
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tcp,tls",
    "http": _HTTP,
    "https": _HTTP,
}
# The frame rate is not measured before the first frame is given: that took most of a second.
FFMPEG_OPTIONS = {"fpsprobesize": "0", "format_whitelist": ",".join(NETWORK_FORMATS)}
# TCP first: UDP loses packets as soon as the network is busy. A camera that offers only UDP is still read.
RTSP_OPTIONS = {"rtsp_flags": "prefer_tcp"}
# An RTSP server describes its streams first. Probing the pictures too would wait for a key frame or two.
UNPROBED = {"probesize": "32", "analyzeduration": "0"}


@source(*PROTOCOLS, live=True)
def open_stream(uri: str, options: SourceOptions) -> LiveSource:
    """The stream at `uri`. Raises `source-lost`."""
    return LiveSource(redact(uri), partial(_connect, uri, options.stall_s), options=options)


def _connect(uri: str, stall_s: float, open_s: float) -> Connection:
    scheme = scheme_of(uri)
    options = {**FFMPEG_OPTIONS, "protocol_whitelist": PROTOCOLS[scheme]}
    if not scheme.startswith("rtsp"):
        return FFmpegConnection(uri, None, options, open_s, stall_s, paced=True)
    options |= RTSP_OPTIONS
    with suppress(NoPicture):  # MPEG-TS inside RTSP announces its pictures only while it is read
        return FFmpegConnection(uri, None, {**options, **UNPROBED}, open_s, stall_s)
    return FFmpegConnection(uri, None, options, open_s, stall_s)
