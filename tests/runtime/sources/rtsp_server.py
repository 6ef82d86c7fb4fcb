"""A real RTSP server on the loopback (GStreamer's), whose picture is the time at which it was taken.

    /usr/bin/python3 rtsp_server.py [PORT] [--codec jpeg|h264] [--rate 25] [--user NAME --password WORD] [--udp]

Runs in the system's Python, which has gi, and needs nothing else. Prints the port that it listens on (0: any free one)
and serves `rtsp://127.0.0.1:PORT/camera`. The picture shows the milliseconds of the machine's monotonic clock as 32
black and white blocks, 8 a row, the highest bit first: whoever reads it knows how old it is. A line `rate N` on
standard input changes the frames a second; the end of standard input stops the server.

`RtspServer` runs it for a test or a benchmark.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"
ROWS, COLUMNS = 4, 8  # blocks: 32 bits
BLOCK = 24  # px
ENCODERS = {
    "jpeg": "jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26",
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 bitrate=2000 ! rtph264pay name=pay0 pt=96",
}


class RtspServer:
    """The server as a process that may be killed, frozen, slowed and started again on the same port."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.port = "0"
        self.start()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        """Start and wait until it listens."""
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, __file__, self.port, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        assert self.port, "the RTSP server did not start"

    def kill(self) -> None:
        """As a cut cable or a pulled plug would, but for the closing of its sockets."""
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def set_rate(self, rate: float) -> None:
        """Frames a second from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"rate {rate}\n")
        self._process.stdin.flush()


def is_here() -> bool:
    """Whether the system has what the server needs."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
    probe += "import sys; sys.exit(not all(map(Gst.ElementFactory.find, ('x264enc', 'rtpjpegpay', 'videoconvert'))))"
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode == 0


def age_s(pixels: Any) -> float:
    """How many seconds ago the picture, uint8 [H, W, 3], was taken."""
    centres = pixels[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK].mean(axis=-1) > 128
    taken_ms = int("".join("01"[int(bit)] for bit in centres.ravel()), 2)
    return ((time.monotonic_ns() // 1_000_000 - taken_ms) & 0xFFFFFFFF) / 1e3


def draw(number: int) -> bytes:
    """`number`'s 32 bits as grey bytes of [ROWS * BLOCK, COLUMNS * BLOCK] px."""
    bits = f"{number & 0xFFFFFFFF:032b}"
    rows = [bits[row * COLUMNS : (row + 1) * COLUMNS] for row in range(ROWS)]
    return b"".join(b"".join((b"\xff" if bit == "1" else b"\x00") * BLOCK for bit in row) * BLOCK for row in rows)


class _Camera:
    """Pushes pictures into the pipelines of those who watch, `rate` a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def configure(self, _factory: Any, media: Any) -> None:
        self._push(media.get_element().get_by_name("camera"))

    def _push(self, source: Any) -> bool:
        from gi.repository import GLib, Gst

        # Before it plays it has no time yet: a picture would be stamped with the machine's and hold up all others.
        if source.get_state(0).state == Gst.State.PLAYING:
            source.emit("push-buffer", Gst.Buffer.new_wrapped(draw(time.monotonic_ns() // 1_000_000)))
        if source.get_parent() is not None:  # else nobody watches any more
            GLib.timeout_add(int(1000 / self.rate), self._push, source)
        return False


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default="0")
    parser.add_argument("--codec", choices=ENCODERS, default="jpeg")
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--udp", action="store_true", help="refuse TCP")
    wanted = parser.parse_args()

    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    camera = _Camera(wanted.rate)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=camera is-live=true do-timestamp=true format=time max-buffers=4 leaky-type=downstream "
        f"caps=video/x-raw,format=GRAY8,width={COLUMNS * BLOCK},height={ROWS * BLOCK},framerate=0/1 "
        f"! videoconvert ! video/x-raw,format=I420 ! {ENCODERS[wanted.codec]} )"
    )
    factory.set_shared(True)
    factory.set_latency(0)
    if wanted.udp:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    factory.connect("media-configure", camera.configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(wanted.port)
    if wanted.user:
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(wanted.user, wanted.password), token)
        permissions = GstRtspServer.RTSPPermissions()
        for permission in ("access", "construct"):
            permissions.add_permission_for_role("user", f"media.factory.{permission}", True)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {wanted.port} is taken")
    loop = GLib.MainLoop()

    def listen() -> None:
        for line in sys.stdin:
            camera.rate = float(line.split()[1])
        loop.quit()

    threading.Thread(target=listen, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
