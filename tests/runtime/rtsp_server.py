"""A real RTSP server on the loopback (GStreamer's), whose picture is the time at which it was taken.

    /usr/bin/python3 rtsp_server.py [PORT] [--codec jpeg|h264] [--rate 25] [--user NAME --password WORD] [--udp]

Needs the system's Python with gi; neither numpy nor anything of ours. Prints the port that it listens on (0: any free
one) and serves `rtsp://127.0.0.1:PORT/camera`. The picture shows the milliseconds of the machine's monotonic clock
as 32 black and white blocks, 8 a row, the highest bit first: whoever reads it knows how old it is. A line
`rate N` on standard input changes the frames a second; standard input's end stops the server.
"""

import argparse
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROWS, COLUMNS = 4, 8  # blocks: 32 bits
BLOCK = 24  # px
WIDTH, HEIGHT = COLUMNS * BLOCK, ROWS * BLOCK
ENCODERS = {
    "jpeg": "jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26",
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 bitrate=2000 ! rtph264pay name=pay0 pt=96",
}


def picture(number):
    """`number`'s 32 bits as bytes of grey, HEIGHT x WIDTH."""
    bits = f"{number & 0xFFFFFFFF:032b}"
    rows = []
    for row in range(ROWS):
        line = b"".join((b"\xff" if bit == "1" else b"\x00") * BLOCK for bit in bits[row * COLUMNS : (row + 1) * COLUMNS])
        rows.append(line * BLOCK)
    return b"".join(rows)


class Camera:
    """Pushes pictures into the pipelines of those who watch, `rate` a second."""

    def __init__(self, rate):
        self.rate = rate

    def configure(self, _factory, media):
        source = media.get_element().get_by_name("camera")
        self._push(source)

    def _push(self, source):
        buffer = Gst.Buffer.new_wrapped(picture(time.monotonic_ns() // 1_000_000))
        if source.emit("push-buffer", buffer) in (Gst.FlowReturn.OK, Gst.FlowReturn.FLUSHING):
            # Flushing: not started yet, or nobody watches any more; gone when the pipeline has been.
            if source.get_parent() is not None:
                GLib.timeout_add(int(1000 / self.rate), self._push, source)
        return GLib.SOURCE_REMOVE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default="0")
    parser.add_argument("--codec", choices=ENCODERS, default="jpeg")
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--udp", action="store_true", help="refuse TCP")
    wanted = parser.parse_args()

    Gst.init(None)
    camera = Camera(wanted.rate)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=camera is-live=true do-timestamp=true format=time max-buffers=4 leaky-type=downstream "
        f"caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate=0/1 "
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
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(wanted.user, wanted.password), token)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {wanted.port} is taken")
    loop = GLib.MainLoop()

    def listen():
        for line in sys.stdin:
            word, value = line.split()
            if word == "rate":
                camera.rate = float(value)
        loop.quit()

    threading.Thread(target=listen, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
