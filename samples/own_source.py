"""A source of one's own in one file: frames that the program draws, opened by an address like any camera.

    python own_source.py BUNDLE GALLERY colors://red,green

Put a robot's camera driver in the place of `produce`. docs/extending.md says how `maclip-run` finds it too, and what a
camera needs that goes on without its reader.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from maclip_runtime import Frame, MaclipError, Recognizer, SourceOptions
from maclip_runtime.sources import SequentialSource, source

RGB = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}
SECONDS = 4.0  # of each color
RATE = 10.0  # frames per second


@source("colors", forms=("colors://red,green",))
class ColorSource(SequentialSource):
    """Some seconds of each color that the address names."""

    def __init__(self, uri: str, options: SourceOptions) -> None:
        super().__init__(uri, options.roi)
        self.colors = uri.partition("://")[2].split(",")
        if unknown := set(self.colors) - set(RGB):
            raise MaclipError("source-unknown", f"{uri} names {unknown}.", f"Choose from {', '.join(RGB)}.")

    def produce(self) -> Iterator[Frame]:
        for index in range(round(len(self.colors) * SECONDS * RATE)):
            color = RGB[self.colors[int(index / RATE / SECONDS)]]
            picture = np.full((48, 64, 3), color, np.uint8)
            yield Frame(picture, time_s=index / RATE, index=index)


def main() -> int:
    bundle, gallery, address = sys.argv[1:]
    try:
        with Recognizer.open(bundle, gallery=gallery) as recognizer:
            for event in recognizer.watch(address):
                if event.kind != "update":
                    print(f"{event.end_s:7.2f} s: {event.kind} {event.label}", flush=True)
    except MaclipError as error:
        print(f"{error.code}: {error.message} {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
