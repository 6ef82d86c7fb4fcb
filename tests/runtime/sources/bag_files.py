"""Recordings of ROS for tests, written with rosbags: ROS 1 .bag, and ROS 2 in MCAP or SQLite."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
START_NS = 1_700_000_000_000_000_000
Stamped = tuple[Any, int]  # a message and the ns at which it was recorded


class Messages:
    """Makes messages of ROS 1 ("bag") or ROS 2 ("mcap", "db3") and writes them."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.store = get_typestore(Stores.ROS1_NOETIC if form == "bag" else Stores.ROS2_HUMBLE)

    def header(self, stamp_ns: int) -> Any:
        time = self.store.types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
        first = {"seq": 0} if self.form == "bag" else {}
        return self.store.types["std_msgs/msg/Header"](**first, stamp=time, frame_id="camera")

    def image(self, data: np.ndarray, encoding: str, stamp_ns: int, pad: int = 0, big: int = 0) -> Any:
        """Rows of bytes, uint8 [H, step], whose pixels are `encoding`; `pad` further bytes a row."""
        height, step = data.shape[0], data[0].size
        rows = np.pad(data.reshape(height, step), ((0, 0), (0, pad)))
        width = data.shape[1]
        return self.store.types[IMAGE](
            header=self.header(stamp_ns), height=height, width=width, encoding=encoding, is_bigendian=big,
            step=step + pad, data=rows.reshape(-1),
        )  # fmt: skip

    def compressed(self, rgb: np.ndarray, stamp_ns: int, kind: str = "jpeg", data: bytes | None = None) -> Any:
        if data is None:
            buffer = io.BytesIO()
            Image.fromarray(rgb).save(buffer, kind)
            data = buffer.getvalue()
        return self.store.types[COMPRESSED](
            header=self.header(stamp_ns), format=kind, data=np.frombuffer(data, np.uint8)
        )

    def write(self, path: Path, topics: dict[str, Sequence[Stamped]]) -> Path:
        """Write a recording; gives what to call it: the file, and for SQLite the folder."""
        if self.form == "bag":
            with Writer1(path) as writer:
                for topic, messages in topics.items():
                    kind = messages[0][0].__msgtype__
                    connection = writer.add_connection(topic, kind, typestore=self.store)
                    for message, at_ns in messages:
                        writer.write(connection, at_ns, self.store.serialize_ros1(message, kind))
            return path
        plugin = StoragePlugin.MCAP if self.form == "mcap" else StoragePlugin.SQLITE3
        folder = path.with_suffix("")
        with Writer2(folder, version=9, storage_plugin=plugin) as writer:
            for topic, messages in topics.items():
                kind = messages[0][0].__msgtype__
                connection = writer.add_connection(topic, kind, typestore=self.store)
                for message, at_ns in messages:
                    writer.write(connection, at_ns, self.store.serialize_cdr(message, kind))
        return next(folder.glob("*.mcap")) if self.form == "mcap" else folder


def color_bag(path: Path, frames: Iterable[np.ndarray], form: str = "mcap", rate: float = 10.0) -> Path:
    """A recording of pictures, uint8 [H, W, 3] RGB, on /camera/image."""
    messages = Messages(form)
    stamped = ((frame, START_NS + round(index * 1e9 / rate)) for index, frame in enumerate(frames))
    images = [(messages.image(frame, "rgb8", at), at) for frame, at in stamped]
    return messages.write(path, {"/camera/image": images})
