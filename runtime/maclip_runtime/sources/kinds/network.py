"""Streams over the network: RTSP cameras, and MJPEG, HLS and recordings over HTTP."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from maclip_runtime.reading.formats import NETWORK_FORMATS
from maclip_runtime.sources.address import lower_scheme, redact, scheme_of
from maclip_runtime.sources.connection import Connection, NoPicture
from maclip_runtime.sources.ffmpeg import FFmpegConnection
from maclip_runtime.sources.live import LiveSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source
from maclip_runtime.sources.trust import tls_options

log = logging.getLogger("maclip")

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
# Over HTTP half a second of it is looked at, and no more than a camera sends in that time: a header that promises sound
# that never comes would keep FFmpeg looking for a minute.
BRIEFLY_PROBED = {"analyzeduration": "500000", "probesize": "1000000"}
# An RTSP server describes its streams first. Probing the pictures too would wait for a key frame or two.
UNPROBED = {"probesize": "32", "analyzeduration": "0"}


@source(*PROTOCOLS, live=True)
def open_stream(uri: str, options: SourceOptions) -> LiveSource:
    """The stream at `uri`. Raises `source-lost`, and `device-missing` without certificates to trust."""
    # Also for http://, which may be redirected.
    trust = {} if scheme_of(uri) == "rtsp" else tls_options(options.insecure)
    return LiveSource(redact(uri), partial(_connect, lower_scheme(uri), options.patience_s, trust), options=options)


def _connect(uri: str, stall_s: float, trust: dict[str, str], open_s: float) -> Connection:
    scheme = scheme_of(uri)
    options = {**FFMPEG_OPTIONS, **trust, "protocol_whitelist": PROTOCOLS[scheme]}
    if not scheme.startswith("rtsp"):
        return _connect_http(uri, options, open_s, stall_s)
    options |= RTSP_OPTIONS
    with suppress(NoPicture):  # MPEG-TS inside RTSP announces its pictures only while it is read
        return FFmpegConnection(uri, None, {**options, **UNPROBED}, open_s, stall_s)
    return FFmpegConnection(uri, None, options, open_s, stall_s)


def _connect_http(uri: str, options: dict[str, str], open_s: float, stall_s: float) -> FFmpegConnection:
    try:
        made = FFmpegConnection(uri, None, {**options, **BRIEFLY_PROBED}, open_s, stall_s, paced=True)
    except NoPicture:
        made = FFmpegConnection(uri, None, options, open_s, stall_s, paced=True)
    if made.format == "hls" and options.get("tls_verify") == "1" and scheme_of(uri) == "https":
        # FFmpeg hands no trust on to the addresses in a playlist.
        log.warning("%s: the playlist's server was verified; those of its parts cannot be", redact(uri))
    return made
