"""A connection through FFmpeg (PyAV): a network stream or a V4L2 camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from maclip_runtime.reading import video
from maclip_runtime.sources.connection import Arrival, Connection, ConnectionLost, NoPicture

if TYPE_CHECKING:
    import av.container
    import av.video

# Streams of single pictures: FFmpeg makes up their stamps from a frame rate that nobody stated.
WITHOUT_CLOCK = {"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe"}
POLL_SECONDS = 0.005  # between two reads of a camera that has no picture yet
END_SECONDS = 1.0  # a recording that ends this close to its full duration was not cut off


class FFmpegConnection(Connection):
    """A network stream or a V4L2 camera, read through FFmpeg."""

    def __init__(
        self, uri: str, kind: str | None, options: dict[str, str], open_s: float, read_s: float, paced: bool = False
    ) -> None:
        """Connect. Raises `ConnectionLost`, and `NoPicture` where no video stream is found.

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
                raise ConnectionLost(f"cannot be opened (nothing came for {open_s:g} s)")
            self._stream = _first_picture_stream(self._container)
        except BaseException:
            self._container.close()
            raise
        self._clocked = self._container.format.name not in WITHOUT_CLOCK
        self.paced = paced and self._clocked
        self._read_s = read_s

    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive. Raises `ConnectionLost`."""
        import av

        last: float | None = None
        while True:
            asked = time.monotonic()
            try:
                # All streams: a camera may go on sending sound while its picture is frozen, which must be noticed.
                for packet in self._container.demux():
                    # When time runs out, FFmpeg first returns what its parser still holds, and only then says so.
                    if time.monotonic() - asked > self._read_s:
                        raise ConnectionLost(f"sent nothing for {self._read_s:g} s")
                    if packet.stream.index == self._stream.index:
                        for frame in video.decode_packet(packet):
                            last = frame.time if frame.time is not None else last
                            yield Arrival(partial(video.upright, frame), frame.time if self._clocked else None)
                    else:
                        yield None
                    asked = time.monotonic()
                break
            except av.error.BlockingIOError:
                yield None
                time.sleep(POLL_SECONDS)
            except (av.error.FFmpegError, OSError) as error:
                raise ConnectionLost(f"stopped sending ({_reason(error, asked, self._read_s)})") from None
        if not self._is_end(last):
            raise ConnectionLost("stopped sending (the connection was closed)")

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _is_end(self, last_s: float | None) -> bool:
        """Whether a recording was read to its end: by its known duration, else by its size."""
        container = self._container
        if last_s is None:
            return False
        if container.duration:  # microseconds; None for what has no end
            return last_s - (container.start_time or 0) / 1e6 >= container.duration / 1e6 - END_SECONDS
        # For HLS the size is the playlist's own. Missing bytes raise an error before this point.
        return "hls" not in container.format.name and container.size > 0


def _first_picture_stream(container: av.container.InputContainer) -> av.video.VideoStream:
    for stream in container.streams.video:
        if getattr(stream, "codec_context", None) is not None:
            return stream
    raise NoPicture


def _reason(error: Exception, begun: float, limit_s: float) -> str:
    """FFmpeg's message; a timeout, for which its message is "Immediate exit requested" or the like, in plain words."""
    if time.monotonic() - begun > limit_s:
        return f"nothing came for {limit_s:g} s"
    return video.reason(error)
