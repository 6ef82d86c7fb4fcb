"""Servers prove who they are: a certificate that nobody vouches for is refused unless it is to be accepted."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from videos import color_video

from maclip_runtime.errors import MaclipError
from maclip_runtime.sources import SourceOptions, open_source, trust

PATIENCE = 20.0  # seconds, for a busy machine
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that vouches for itself; its key lies beside it."""
    made = tmp_path / "made.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {tmp_path / 'key.pem'} -out {made} -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return made


@pytest.fixture
def served(tmp_path: Path, certificate: Path) -> Iterator[int]:
    """The port of a server with that certificate; it serves `v.ts`."""
    (tmp_path / "served").mkdir()
    color_video(tmp_path / "served" / "v.ts", [("red", 1.0)])

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_certificate_of_its_own_is_refused_unless_accepted(served: int) -> None:
    with pytest.raises(MaclipError) as caught:
        open_source(f"https://localhost:{served}/v.ts")
    assert caught.value.code == "source-lost"
    assert "--insecure" in caught.value.fix
    with open_source(f"https://localhost:{served}/v.ts", SourceOptions(insecure=True)) as source:
        assert source.read(PATIENCE) is not None


def test_an_authority_may_be_named_and_the_host_must_be_its_own(
    served: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with open_source(f"https://localhost:{served}/v.ts") as source:
        assert source.read(PATIENCE) is not None
    with pytest.raises(MaclipError):
        open_source(f"https://127.0.0.1:{served}/v.ts")


def test_without_any_list_of_certificates_nothing_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(trust, "_USUAL_PLACES", ())
    monkeypatch.setattr(trust, "find_spec", lambda _: None)
    with pytest.raises(MaclipError, match="no list of trusted certificates") as caught:
        trust.tls_options(insecure=False)
    assert caught.value.code == "device-missing"
    assert trust.tls_options(insecure=True) == {"tls_verify": "0"}


@pytest.mark.parametrize("scheme", ["https", "rtsps", "http"])
def test_every_encrypted_address_is_verified(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also http://, which may be redirected to https://."""
    from maclip_runtime.sources.connection import Connection, ConnectionLost
    from maclip_runtime.sources.kinds import network

    given: list[dict[str, str]] = []

    def connection(uri: str, kind: object, options: dict[str, str], *_: object, **__: object) -> Connection:
        given.append(options)
        raise ConnectionLost("is off", refused=True)

    monkeypatch.setattr(network, "FFmpegConnection", connection)
    for insecure in (False, True):
        with pytest.raises(MaclipError):
            open_source(f"{scheme}://camera/1", SourceOptions(insecure=insecure))
    assert [options["tls_verify"] for options in given] == ["1", "0"]
    assert Path(given[0]["ca_file"]).is_file()
