"""Recordings of ROS 1 and 2: their addresses, and which topic of one holds the pictures. Read through rosbags."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
FORM = "bag:FILE?topic=/camera/image"


@dataclass(frozen=True)
class BagAddress:
    """A recording, a file or the folder of a ROS 2 bag, and the topic in it; None for its only topic of pictures."""

    path: Path
    topic: str | None

    @classmethod
    def parse(cls, uri: str) -> BagAddress:
        """The address `bag:FILE` or `bag:FILE?topic=/NAME`. Raises `source-unknown`.

        >>> BagAddress.parse("bag:run.mcap?topic=/camera/image").topic
        '/camera/image'
        """
        path, _, query = uri[len("bag:") :].removeprefix("//").partition("?")
        chosen = dict(parse_qsl(query, keep_blank_values=True))
        topic = chosen.pop("topic", None)
        if not path or chosen or (query and not topic):
            raise MaclipError("source-unknown", f"{uri} does not name a recording.", f"Write {FORM}.")
        return cls(Path(path), topic)

    def __str__(self) -> str:
        return f"bag:{self.path}" + (f"?topic={self.topic}" if self.topic else "")

    def absolute(self) -> BagAddress:
        """The same recording by its absolute path."""
        return BagAddress(Path(os.path.abspath(self.path)), self.topic)

    def files(self) -> list[Path]:
        """The recording's files, sorted; at least one. Raises `OSError`."""
        if not self.path.is_dir():
            return [self.path]
        found = sorted(file for file in self.path.iterdir() if file.is_file())
        if not found:
            raise FileNotFoundError(errno.ENOENT, "The folder is empty", str(self.path))
        return found


class Bag:
    """An open recording. `close` it."""

    def __init__(self, address: BagAddress) -> None:
        """Open it and choose the topic.

        Raises `source-missing` without rosbags, `clip-unreadable` for what is no recording or is torn, and
        `clip-topic-unknown` where the topic is not there, or none was given and there are several or none.
        """
        any_reader = _import_reader()
        name = str(address)
        try:
            self._reader: Any = any_reader([address.path])
            self._reader.open()
        except Exception as error:  # rosbags raises whatever a damaged byte leads it to
            raise _unreadable(name, error) from error
        try:
            self._connections = _chosen(self._reader.connections, address)
        except BaseException:
            self.close()
            raise

    @property
    def length_s(self) -> float:
        """Seconds from the first to the last message of all topics."""
        return float(self._reader.duration) / 1e9

    @property
    def step_s(self) -> float:
        """Seconds between two pictures, on the average."""
        count: int = sum(one.msgcount for one in self._connections)
        return self.length_s / max(1, count - 1)

    def messages(self) -> Any:
        """Each message of the topic that can be read, with the time in ns at which it was recorded.

        Raises whatever rosbags raises where the recording is damaged.
        """
        for connection, recorded_ns, data in self._reader.messages(self._connections):
            with suppress(Exception):  # one damaged message
                yield self._reader.deserialize(data, connection.msgtype), recorded_ns

    def close(self) -> None:
        """Close the files."""
        with suppress(Exception):
            self._reader.close()


def _chosen(connections: Any, address: BagAddress) -> list[Any]:
    """The connections of the topic. Raises `clip-topic-unknown`."""
    images = [one for one in connections if one.msgtype in IMAGE_TYPES and one.msgcount]
    topics = sorted({one.topic for one in images})
    if address.topic is None and len(topics) == 1:
        return images
    if address.topic in topics:
        return [one for one in images if one.topic == address.topic]
    if not topics:
        why, fix = "has no topic with pictures", f"Record one with a topic of {' or '.join(IMAGE_TYPES)}."
    else:
        why = f"has no pictures on {address.topic}" if address.topic else f"has {len(topics)} topics with pictures"
        fix = f"Choose one: {', '.join(str(BagAddress(address.path, topic)) for topic in topics)}."
    raise MaclipError("clip-topic-unknown", f"{address.path} {why}.", fix)


def _unreadable(name: str, error: Exception) -> MaclipError:
    why = str(error) or type(error).__name__
    return MaclipError(
        "clip-unreadable",
        f"{name} cannot be read as a recording of ROS ({why.rstrip('.')}).",
        "Give a .bag, .mcap or .db3 file or the folder of a ROS 2 bag. A recording that was cut off is repaired with "
        "`mcap recover`, `ros2 bag reindex` or `rosbag reindex`.",
    )


def _import_reader() -> Any:
    """rosbags' reader of every format; recordings without definitions of their messages are read as ROS 2's."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise MaclipError(
            "source-missing",
            "Reading a recording of ROS needs rosbags, which is not installed.",
            "Install it: pip install 'maclip[ros]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return lambda paths: AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_HUMBLE))
