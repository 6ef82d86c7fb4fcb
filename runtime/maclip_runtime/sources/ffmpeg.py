"""A connection through FFmpeg (PyAV): a network stream or a V4L2 camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading import video
from maclip_runtime.reading.times import Times
from maclip_runtime.sources.address import redact
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost, NoPicture

if TYPE_CHECKING:
    import av.container
    import av.packet
    import av.video

# Streams of single pictures: FFmpeg makes up their stamps from a frame rate that nobody stated.
WITHOUT_CLOCK = {"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe"}
POLL_SECONDS = 0.005  # between two reads of a camera that has no picture yet
END_SECONDS = 1.0  # a recording that ends this close to its full duration was not cut off
ENOUGH_PIXELS = 480  # of the short side, where a recording is offered in several qualities
MAX_STEP_SECONDS = 10.0  # between two packets; a longer one, or one backwards, leads to another clock


class FFmpegConnection(Connection):
    """A network stream or a V4L2 camera, read through FFmpeg; `format` is FFmpeg's name of what it found."""

    def __init__(
        self, uri: str, kind: str | None, options: dict[str, str], open_s: float, read_s: float, paced: bool = False
    ) -> None:
        """Connect. Raises `ConnectionLost`, `NoPicture` where no video stream is found, and `video-too-large`.

        uri: an address or a device, as FFmpeg takes it.
        kind: FFmpeg's name of the input format; None to detect it.
        options: FFmpeg's options of the container.
        open_s: seconds that connecting may take.
        read_s: seconds that the next packet may take.
        paced: whether pictures are due at the times of their stamps, where the format has stamps.
        """
        import av

        begun = time.monotonic()
        try:
            self._container = av.open(
                uri, format=kind, container_options=options, timeout=(open_s, read_s), **video.lenient()
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            refused = isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError))
            # `from None`: PyAV's own message repeats the address with its password.
            raise ConnectionLost(f"cannot be opened ({_reason(error, begun, open_s)})", refused) from None
        try:
            # FFmpeg reports no error where time ran out after the server's first answers.
            if time.monotonic() - begun > open_s:
                raise ConnectionLost(f"cannot be opened (no picture was found within {open_s:g} s)")
            self._stream = _picture_stream(self._container, redact(uri))
        except BaseException:
            self._container.close()
            raise
        _leave_out_others(self._container, self._stream)
        self.format: str = self._container.format.name
        self._clocked = self.format not in WITHOUT_CLOCK
        self.paced = paced and self._clocked
        self._read_s = read_s

    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive; None for what brings none. Raises `ConnectionLost`."""
        return self._in_time(self._received()) if self.paced else self._received()

    def _in_time(self, received: Iterator[Arrival | None]) -> Iterator[Arrival | None]:
        """Arrivals whose stamps were checked against the next one, as in a file: they say when a picture is due."""
        times = Times(1 / video.rate(self._stream))
        waiting: Arrival | None = None
        for arrival in received:
            if arrival is None:
                yield None
                continue
            if waiting is not None:
                yield Arrival(waiting.pixels, times.next(waiting.stamp_s, arrival.stamp_s))
            waiting = arrival
        if waiting is not None:
            yield Arrival(waiting.pixels, times.next(waiting.stamp_s, None))

    def _received(self) -> Iterator[Arrival | None]:
        import av

        reached = _Reached()
        while True:
            asked = time.monotonic()
            try:
                # All streams: a camera may go on sending sound while its picture is frozen, which must be noticed.
                for packet in self._container.demux():
                    # When time runs out, FFmpeg first returns what its parser still holds, and only then says so.
                    if time.monotonic() - asked > self._read_s:
                        raise ConnectionLost(f"sent no packet for {self._read_s:g} s")
                    reached.add(packet)
                    if packet.stream.index == self._stream.index:
                        for frame in video.decode_packet(packet):
                            yield Arrival(partial(video.upright, frame), self._stamp_s(frame))
                    # Also after a picture: the reader looks at the time, and whether it is to stop, at every packet.
                    yield None
                    asked = time.monotonic()
                break
            except av.error.BlockingIOError:
                yield None
                time.sleep(POLL_SECONDS)
            except (av.error.FFmpegError, OSError) as error:
                raise ConnectionLost(f"stopped sending ({_reason(error, asked, self._read_s)})") from None
        if not self._is_end(reached.seconds):
            raise ConnectionLost("stopped sending (the connection was closed)")

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _stamp_s(self, frame: av.video.VideoFrame) -> float | None:
        return video.stamp_s(self._container, frame) if self._clocked else None

    def _is_end(self, reached_s: float) -> bool:
        """Whether a recording was read to its end: all of its bytes, or without their number all of its seconds."""
        container = self._container
        hls = "hls" in container.format.name  # whose size is the playlist's own
        # Where bytes are missing, an error was raised before this point: headers may state what duration they like.
        if container.size > 0 and not hls:
            return True
        if container.duration:  # microseconds; None for what has no end
            return reached_s >= container.duration / 1e6 - END_SECONDS
        return hls and reached_s > 0  # a live playlist ends by saying so; the loss of its server is an error


class _Reached:
    """How many seconds were read, by the stamps of whichever stream goes furthest, across new clocks."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._read: dict[int, float] = {}

    def add(self, packet: av.packet.Packet[Any]) -> None:
        if packet.dts is None or packet.time_base is None:
            return
        stamp, stream = float(packet.dts * packet.time_base), packet.stream.index
        step = stamp - self._last.get(stream, stamp)
        length = float((packet.duration or 0) * packet.time_base)
        self._last[stream] = stamp
        self._read[stream] = self._read.get(stream, 0.0) + (step if 0 <= step <= MAX_STEP_SECONDS else length)

    @property
    def seconds(self) -> float:
        return max(self._read.values(), default=0.0)


def _picture_stream(container: av.container.InputContainer, name: str) -> av.video.VideoStream:
    """The stream that files are read by too, within the same limits; of several qualities (HLS) one that suffices.

    Raises `NoPicture`, `video-too-large`.
    """
    try:
        first = video.picture_stream(container, name)
    except MaclipError as error:
        if error.code == "clip-unreadable":
            raise NoPicture from None
        raise
    if "hls" not in container.format.name:
        return first
    known = [stream for stream in container.streams.video if _side(stream)]
    enough = [stream for stream in known if _side(stream) >= ENOUGH_PIXELS]
    chosen = min(enough, key=_side) if enough else max(known, key=_side, default=first)
    return chosen if chosen is first else video.bounded(chosen, name)


def _side(stream: av.video.VideoStream) -> int:
    """The short side in px; 0 where it is not known."""
    context = getattr(stream, "codec_context", None)
    return min(context.width, context.height) if context is not None else 0


def _leave_out_others(container: av.container.InputContainer, wanted: av.video.VideoStream) -> None:
    """Of a recording in several qualities (HLS) load one: a stream that is discarded is not downloaded.

    Sound is loaded only where there is one quality, in which it comes along.
    """
    import av

    videos = [stream for stream in container.streams.video if stream.index != wanted.index]
    if "hls" not in container.format.name or not videos:
        return
    for stream in container.streams:
        if stream.index != wanted.index and hasattr(stream, "discard"):
            stream.discard = av.stream.Discard.all


def _reason(error: Exception, begun: float, limit_s: float) -> str:
    """FFmpeg's message; a timeout, for which its message is "Immediate exit requested" or the like, in plain words."""
    if time.monotonic() - begun > limit_s:
        return f"no answer that could be used came within {limit_s:g} s"
    return video.why_not(error)
