"""mosquitto for tests, on a port of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def wait_for(reached: Callable[[], object], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


class Broker:
    """mosquitto on a port of its own; the test skips where there is none."""

    def __init__(self, folder: Path) -> None:
        if not MOSQUITTO or not shutil.which("mosquitto_passwd"):
            pytest.skip("no mosquitto here")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "secret"], check=True)
        # user: started by root it would become one who cannot read its own files.
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\npassword_file {passwords}\nallow_anonymous true\nuser root\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for(self._answers)

    def use_tls(self, folder: Path) -> tuple[Path, Path]:
        """From the next start on; where to put the key and the certificate."""
        key, certificate = folder / "broker.key", folder / "broker.crt"
        with self._config.open("a") as config:
            config.write(f"certfile {certificate}\nkeyfile {key}\n")
        return key, certificate

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
