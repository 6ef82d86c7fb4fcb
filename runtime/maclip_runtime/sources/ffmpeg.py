"""One connection to a live source: pictures as they come, until it breaks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from maclip_runtime.reading import video
from maclip_runtime.reading.frames import Pixels

if TYPE_CHECKING:
    import av.container
    import av.video

# Streams of single pictures: their stamps are invented from a frame rate that nobody stated.
WITHOUT_CLOCK = {"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe"}
NOTHING_YET_SECONDS = 0.005  # how soon a camera that has no picture is asked again
END_SECONDS = 1.0  # a recording that ends within this of its length was not cut off


class ConnectionLost(Exception):
    """The connection could not be made or broke; `why` continues a sentence and holds no address.

    `refused`: the other side wants another user or password.
    """

    def __init__(self, why: str, refused: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.refused = refused


class NoPicture(ConnectionLost):
    """The connection was made, and brings no picture as far as is known."""

    def __init__(self) -> None:
        super().__init__("sends no picture that can be decoded")


@dataclass(frozen=True)
class Arrival:
    """A picture that came: `pixels()` makes it uint8 [H, W, 3] RGB, upright, only where it is wanted.

    `stamp_s`: when it was taken, in seconds of the sender's clock; None where it does not say.
    """

    pixels: Callable[[], Pixels]
    stamp_s: float | None


class Connection(ABC):
    """An open connection. `paced`: pictures come in bursts and are to be given at the times of their stamps."""

    paced = False

    @abstractmethod
    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they come; None now and then where none came, so that the reader can look around.

        Ends where the source says that nothing more will come. Raises `ConnectionLost`.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go. Called once, by the thread that reads."""


Connect = Callable[[float], Connection]  # seconds that it may take -> open connection; raises ConnectionLost


class FFmpegConnection(Connection):
    """An address or a V4L2 camera through FFmpeg. Raises `ConnectionLost` where it cannot be opened, `NoPicture`."""

    def __init__(
        self, uri: str, kind: str | None, options: dict[str, str], open_s: float, read_s: float, paced: bool = False
    ) -> None:
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
            # FFmpeg does not count it as a failure if time ran out after the server's first answers.
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
        """Pictures as they come. Raises `ConnectionLost`."""
        import av

        last: float | None = None
        while True:
            asked = time.monotonic()
            try:
                # All streams: a camera whose sound goes on while its picture is frozen is to be noticed.
                for packet in self._container.demux():
                    # Out of time, FFmpeg first hands out what its parser still held, and only then says so.
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
                time.sleep(NOTHING_YET_SECONDS)
            except (av.error.FFmpegError, OSError) as error:
                raise ConnectionLost(f"stopped sending ({_reason(error, asked, self._read_s)})") from None
        if not self._is_end(last):
            raise ConnectionLost("stopped sending (the connection was closed)")

    def close(self) -> None:
        """Let go of the connection."""
        self._container.close()

    def _is_end(self, last_s: float | None) -> bool:
        """Whether a recording was seen to its end: of its known length in seconds, else in bytes."""
        container = self._container
        if last_s is None:
            return False
        if container.duration:  # microseconds; None for what has no end
            return last_s - (container.start_time or 0) / 1e6 >= container.duration / 1e6 - END_SECONDS
        # Of what a playlist names, the size is the playlist's. Bytes that lack are an error and come not here.
        return "hls" not in container.format.name and container.size > 0


def _first_picture_stream(container: av.container.InputContainer) -> av.video.VideoStream:
    for stream in container.streams.video:
        if getattr(stream, "codec_context", None) is not None:
            return stream
    raise NoPicture


def _reason(error: Exception, begun: float, limit_s: float) -> str:
    """FFmpeg's words, but for a time limit, of which it says "Immediate exit requested" or "Invalid data found"."""
    if time.monotonic() - begun > limit_s:
        return f"nothing came for {limit_s:g} s"
    return video.reason(error)
