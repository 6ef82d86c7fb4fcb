"""A sink of one's own in one file: events as rows of a CSV file, opened by an address like any broker.

    python own_sink.py BUNDLE GALLERY VIDEO csv:///tmp/events.csv

Put what sends an event to the robot in the place of `deliver`: it runs in a thread of its own, so that recognition
never waits for it. docs/extending.md says how `maclip-run recognize --to` finds it too.
"""

from __future__ import annotations

import csv
import json
import sys

from maclip_runtime import MaclipError, Recognizer, open_sink
from maclip_runtime.sinks import Sink, SinkOptions, sink


@sink("csv", forms=("csv:///FILE",))
class CsvSink(Sink):
    """Appends time, kind and label of each event to a file."""

    def __init__(self, uri: str, options: SinkOptions) -> None:
        try:
            self.file = open(uri.partition("://")[2], "a", newline="", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise MaclipError("output-unwritable", f"{uri} cannot be opened ({error}).", "Give another file.") from None
        super().__init__(uri)  # last: it starts the thread that delivers

    def deliver(self, line: bytes) -> None:
        event = json.loads(line)
        csv.writer(self.file).writerow([event["end_s"], event["kind"], event["label"]])
        self.file.flush()  # an OSError here, as on a full disk, makes the sink try again later

    def release(self, deadline: float) -> None:
        self.file.close()


def main() -> int:
    bundle, gallery, video, address = sys.argv[1:]
    try:
        with Recognizer.open(bundle, gallery=gallery) as recognizer, open_sink(address) as opened:
            for _ in recognizer.watch(video, callbacks=[opened]):
                pass
        print(f"{opened.delivered} events delivered, {opened.dropped} dropped")
    except MaclipError as error:
        print(f"{error.code}: {error.message} {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
