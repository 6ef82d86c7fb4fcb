"""Recordings of ROS 1 and 2 as sources. Every picture of a topic is given, at the time of its message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Pixels
from maclip_runtime.reading.ros_images import picture_of
from maclip_runtime.reading.times import timed
from maclip_runtime.reading.video import unreadable
from maclip_runtime.sources.bags import FORM, Bag, BagAddress
from maclip_runtime.sources.base import Frame, SequentialSource
from maclip_runtime.sources.options import SourceOptions
from maclip_runtime.sources.registry import source

Picture = Pixels | Callable[[], Pixels]

log = logging.getLogger("maclip")


@source("bag", recorded=True, forms=(FORM,))
class BagSource(SequentialSource):
    """A topic of a recording, read once: a .bag of ROS 1, a .mcap, a .db3 or a bag's folder of ROS 2.

    Times are the stamps in the messages' headers; where the first header has none, when each was recorded.
    """

    def __init__(self, uri: str, options: SourceOptions) -> None:
        """Raises `source-unknown`, `source-missing`, `clip-unreadable`, `clip-topic-unknown`."""
        address = BagAddress.parse(uri)
        super().__init__(str(address), options.roi)
        self._bag = Bag(address)

    @property
    def length_s(self) -> float | None:
        """By all topics of the recording."""
        return self._bag.length_s

    def produce(self) -> Iterator[Frame]:
        """The pictures, without those that are damaged. Raises `clip-encoding-unknown`, `clip-unreadable`."""
        for index, (picture, time_s) in enumerate(timed(self._stamped(), self._bag.step_s)):
            yield Frame(picture, time_s, index)

    def close(self) -> None:
        """Close the recording."""
        super().close()
        self._bag.close()

    def _stamped(self) -> Iterator[tuple[Picture, float | None]]:
        read = 0
        by_header: bool | None = None
        try:
            for message, recorded_ns in self._bag.messages():
                header_ns = _header_ns(message)
                by_header = bool(header_ns) if by_header is None else by_header
                stamp_ns = header_ns or None if by_header else recorded_ns
                try:
                    picture = picture_of(message, self.name)
                except MaclipError as error:
                    if error.code != "clip-unreadable":
                        raise
                    continue
                yield picture, None if stamp_ns is None else stamp_ns / 1e9
                read += 1
        except MaclipError:
            raise
        except Exception as error:  # rosbags raises whatever a damaged byte leads it to
            if not read:
                raise unreadable(self.name, f"is damaged ({error})") from error
            log.warning("%s is damaged after %d pictures: %s", self.name, read, error)
        if not read:
            raise unreadable(self.name, "holds no picture that can be read")


def _header_ns(message: Any) -> int:
    """The stamp of a message's header in ns; 0 where it was not set."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
