"""The network on a server: a real Triton serves the exported models, is killed, slowed down and asked for tokens."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from remote_kit import refused, windows
from tiny_bundle import FRAMES, WIDTH, seal, write_bundle
from videos import color_frames

pytest.importorskip("tritonclient.grpc", reason="Triton's client library is not installed")
pytest.importorskip("onnx", reason="the export is not installed")

from benchmarks import triton_server
from benchmarks.slow_network import SlowNetwork
from benchmarks.triton_server import TritonServer, copy_models
from maclip_export.targets.triton import write_repository
from maclip_runtime import Bundle, Recognizer
from maclip_runtime.engines.remote import engine as remote
from maclip_runtime.engines.remote.engine import MAX_IN_FLIGHT, RemoteEngine
from maclip_runtime.tools.bench.submission import _device
from maclip_runtime.tools.doctor.devices import require_device, run_graphs

needs_server = pytest.mark.skipif(triton_server.program() is None, reason=f"no Triton server: {triton_server.GET}")
pytestmark = pytest.mark.usefixtures("quick_remote")


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that gets the size of each batch of `server`."""
    return tmp_path_factory.mktemp("batches") / "log"


@pytest.fixture(scope="module")
def server(split: Path, batches: Path) -> Iterator[TritonServer]:
    with TritonServer(split.parent / "models", environment={"SERVED_LOG": str(batches)}) as running:
        yield running


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@needs_server
def test_features_are_those_of_the_machine(split: Path, server: TritonServer, opened) -> None:
    far, near = opened(split, server.device), opened(split, "cpu")
    frames, text = windows(5), np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    assert not far.has_stem
    np.testing.assert_array_equal(far.features(frames), near.features(frames))
    np.testing.assert_array_equal(far.features(frames, text), near.features(frames, text))
    for a, b in zip(far.enrolled(frames[0], text[0]), near.enrolled(frames[0], text[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    tokens = far.stem(frames[0])  # runs here, whichever way is taken
    np.testing.assert_array_equal(far.tower(tokens[None], text[:1]), near.tower(tokens[None], text[:1]))
    assert not far.engine.is_away


@needs_server
def test_the_doctor_says_what_the_server_is_and_what_runs_there(split: Path, server: TritonServer) -> None:
    assert "triton 2." in require_device(server.device)
    ran = {one.graph: one.ran for one in run_graphs(Bundle.open(split), server.device)}
    assert ran["tower"] == "on the server"
    assert ran["match"] == "on this machine (cpu)"
    refused("device-unknown", lambda: require_device("triton:grpc://nowhere"))
    assert _device(server.device) == "a server"  # no address leaves with a submission


@needs_server
def test_a_server_batches_the_windows_of_two_clients(split: Path, server: TritonServer, batches: Path, opened) -> None:
    clients = [opened(split, server.device) for _ in range(2)]
    frames = [windows(3, seed) for seed in range(2)]
    expected = [opened(split, "cpu").features(one) for one in frames]
    start, before = threading.Barrier(2), len(batches.read_text().split())

    def work(client: int) -> list[np.ndarray]:
        start.wait()
        return [clients[client].features(frames[client]) for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        for client, answers in enumerate(pool.map(work, range(2))):
            for answer in answers:
                np.testing.assert_array_equal(answer, expected[client])
    sizes = [int(line) for line in batches.read_text().split()[before:]]
    assert sum(sizes) == 60
    assert max(sizes) > 3  # of both together


@needs_server
def test_a_watch_goes_on_when_the_server_is_killed_and_returns_to_it(
    split: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "maclip")
    said: list[list[tuple[str, str]]] = []
    with TritonServer(split.parent / "models", graphs=["visual"]) as server:
        for device in ("cpu", server.device):
            with Recognizer.open(split, tmp_path / f"{device[:3]}.db", device=device, threads=1) as recognizer:
                for name in ("red", "green"):
                    recognizer.enroll_frames(f"{name} light", color_frames(name, 10), duration_s=1.0)
                events = []
                engine = recognizer.encoder.engine
                shown = [*color_frames("red", 40), *color_frames("green", 40), *color_frames("red", 40)]
                with recognizer.stream(window_s=1.0) as stream:
                    for number, frame in enumerate(shown):
                        if isinstance(engine, RemoteEngine) and number == 40:
                            server.kill()
                        if isinstance(engine, RemoteEngine) and number == 80:
                            assert engine.is_away
                            assert recognizer.encoder.has_stem  # so that each frame passes the own stem once
                            server.start()
                            wait_until(lambda engine=engine: not engine.is_away)
                        events += stream.push(frame, number / 10)
                events += stream.end()
                if isinstance(engine, RemoteEngine):
                    assert not engine.is_away
                said.append([(event.kind, event.label) for event in events if event.kind != "update"])
    assert said[0] == said[1]
    assert [label for kind, label in said[0] if kind == "start"] == ["red light", "green light", "red light"]
    lines = [record.getMessage() for record in caplog.records]
    assert sum("Until it answers again the network runs on" in line for line in lines) == 1
    assert sum("answers again and runs the network" in line for line in lines) == 1


@needs_server
def test_a_slow_network_is_not_waited_for(split: Path, server: TritonServer, opened, caplog) -> None:
    frames = windows(2)
    near = opened(split, "cpu").features(frames)
    with SlowNetwork(server.port) as network:
        far = opened(split, f"{network.device}?timeout=1.5")
        np.testing.assert_array_equal(far.features(frames), near)
        network.bytes_a_second = 3_000.0  # 12 kB a window, so 8 s
        begun = time.monotonic()
        np.testing.assert_array_equal(far.features(frames), near)
        assert 1.4 < time.monotonic() - begun < 6.0
        assert far.engine.is_away
        assert "did not answer within 1.5 s" in caplog.text
        sent = network.sent
        np.testing.assert_array_equal(far.features(frames), near)  # the own engine, at once
        assert network.sent < sent + 20_000
        network.bytes_a_second = None
        wait_until(lambda: not far.engine.is_away)
        network.cut()  # a step whose connection breaks is tried once more
        np.testing.assert_array_equal(far.features(frames), near)
        assert not far.engine.is_away


@needs_server
def test_a_full_server_gets_no_more_than_a_few_requests(split: Path, tmp_path: Path, opened, caplog) -> None:
    """Ten times what it can answer within the time: the rest is dropped, and runs here."""
    log = tmp_path / "log"
    environment = {"SERVED_DELAY": "0.2", "SERVED_LOG": str(log)}
    with TritonServer(split.parent / "models", graphs=["visual"], environment=environment) as server:
        far = opened(split, f"{server.device}?timeout=0.3")
        warm_up = sum(int(line) for line in log.read_text().split())
        frames = windows(40)
        begun = time.monotonic()
        np.testing.assert_array_equal(far.features(frames), opened(split, "cpu").features(frames))
        assert time.monotonic() - begun < 6.0  # of 8
        assert "did not answer within 0.3 s" in caplog.text
        time.sleep(0.3)  # what it still had on the way
        assert sum(int(line) for line in log.read_text().split()) - warm_up <= 3 * MAX_IN_FLIGHT


@needs_server
def test_tls_and_tokens(split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    certificate, key = certificate_of("localhost", tmp_path)
    token = "s3cret-word"
    options = [
        *("--grpc-use-ssl=true", f"--grpc-server-cert={certificate}", f"--grpc-server-key={key}"),
        f"--grpc-restricted-protocol=inference,model-config,health,metadata:authorization=Bearer {token}",
    ]
    with TritonServer(split.parent / "models", graphs=["visual"], options=options) as server:
        device = f"triton:grpcs://localhost:{server.port}"
        monkeypatch.setenv("MACLIP_TRITON_TOKEN", token)
        assert "certificate" in refused("remote-unreachable", lambda: opened(split, device)).fix
        monkeypatch.setenv("MACLIP_TRITON_CA", str(certificate))
        frames = windows(2)
        np.testing.assert_array_equal(opened(split, device).features(frames), opened(split, "cpu").features(frames))
        monkeypatch.delenv("MACLIP_TRITON_TOKEN")
        refused("remote-refused", lambda: opened(split, device))
        refused("remote-refused", lambda: opened(split, device, absent=True))  # waiting would not help
        (tmp_path / "token").write_text("wrong\n")
        monkeypatch.setenv("MACLIP_TRITON_TOKEN_FILE", str(tmp_path / "token"))
        refused("remote-refused", lambda: opened(split, device))
        (tmp_path / "token").write_text(f"{token}\n")
        far = opened(split, device)
        np.testing.assert_array_equal(far.features(frames), opened(split, "cpu").features(frames))
        (tmp_path / "token").write_text("renewed-elsewhere")  # read at each request
        np.testing.assert_array_equal(far.features(frames), opened(split, "cpu").features(frames))
        assert far.engine.is_away
    assert "refuses the token" in caplog.text
    for secret in (token, "renewed", "wrong"):
        assert secret not in caplog.text


@needs_server
def test_models_of_another_bundle_are_refused(split: Path, server: TritonServer, tmp_path: Path, opened) -> None:
    other = write_bundle(tmp_path / "other", split=True, contract="another")
    assert "cannot be compared" in refused("remote-contract", lambda: opened(other, server.device, absent=True)).message
    shaped = write_bundle(tmp_path / "shaped", split=True)
    manifest = Bundle.open(shaped).manifest
    tower = manifest.graphs["tower"]
    features = replace(tower.outputs[0], shape=("B", FRAMES, WIDTH + 1))
    seal(shaped, replace(manifest, graphs={**manifest.graphs, "tower": replace(tower, outputs=(features,))}))
    refused("remote-shapes", lambda: opened(shaped, server.device, absent=True))
    (tmp_path / "models").mkdir()
    with TritonServer(tmp_path / "models") as empty:
        refused("remote-model-missing", lambda: opened(split, empty.device, absent=True))


@needs_server
def test_another_bundle_behind_the_same_address_is_noticed(
    split: Path, tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(remote, "CHECK_SECONDS", 0.0)
    write_repository(write_bundle(tmp_path / "other", contract="another"), tmp_path / "models")
    with TritonServer(split.parent / "models", graphs=["visual"]) as server:
        far = opened(split, server.device)
        server.kill()
        shutil.rmtree(server.models)
        copy_models(tmp_path / "models", server.models, ["visual"])
        server.start()
        np.testing.assert_array_equal(far.features(windows(1)), opened(split, "cpu").features(windows(1)))
        assert far.engine.is_away
        assert "cannot be compared" in caplog.text


@needs_server
def test_the_measured_bandwidth_decides_what_is_sent(split: Path, server: TritonServer, opened) -> None:
    frames, near = windows(1), opened(split, "cpu")
    with SlowNetwork(server.port, bytes_a_second=500_000.0) as network:  # 24 ms for the frames of a window
        far = opened(split, network.device)
        for _ in range(6):
            np.testing.assert_array_equal(far.features(frames), near.features(frames))
        assert far.has_stem  # tokens are 60 times smaller, and the own stem takes less than a millisecond
        sent = network.sent
        np.testing.assert_array_equal(far.features(frames), near.features(frames))
        assert network.sent - sent < frames.nbytes / 4


def certificate_of(host: str, folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, plain))
    return folder / "cert.pem", folder / "key.pem"
