"""Remote engines without a server: addresses, secrets, absence, and what is decided to be sent."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from remote_kit import refused, windows
from tiny_bundle import FRAMES, SIZE

pytest.importorskip("tritonclient.grpc", reason="Triton's client library is not installed")
pytest.importorskip("onnx", reason="the export is not installed")

from benchmarks.slow_network import SlowNetwork
from maclip_runtime import Bundle
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.engines.remote import engine as remote
from maclip_runtime.engines.remote.address import parse_address
from maclip_runtime.engines.remote.way import Loads, loads_of, sends_tokens

pytestmark = pytest.mark.usefixtures("quick_remote")


def test_a_server_that_comes_and_goes_is_tried_ever_more_rarely() -> None:
    pause = remote.Pause()
    assert [pause.after_loss(at) for at in (0.0, 1.0, 2.0)] == [0.02, 0.04, 0.05]  # `quick_remote`: at most 0.05 s
    assert pause.after_loss(3.0 + remote.CALM_SECONDS) == 0.02


def test_an_absent_server_is_an_error_unless_it_is_allowed(split: Path, opened, caplog) -> None:
    with SlowNetwork(1) as nobody:
        device = nobody.device
    refused("remote-unreachable", lambda: opened(split, device))
    far = opened(split, device, absent=True)
    assert "Until it answers again" in caplog.text
    np.testing.assert_array_equal(far.features(windows(1)), opened(split, "cpu").features(windows(1)))


def test_a_server_that_says_nothing_is_late(split: Path, opened) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        device = f"triton:grpc://127.0.0.1:{silent.getsockname()[1]}?timeout=0.2"
        error = refused("remote-deadline", lambda: opened(split, device))
    assert "?timeout=" in error.fix


@pytest.mark.parametrize(
    "device",
    [
        *("triton:", "triton:8001", "triton:http://a:1", "triton:grpc://a", "triton:grpc://:1", "triton:grpc://a:x"),
        *("triton:grpc://a:1/path", "triton:grpc://a:1?timeout=0", "triton:grpc://a:1?timeout=nan"),
        *("triton:grpc://a:1?token=x", "triton:grpc://a:99999", "triton:grpc://a:1#x", "triton:grpc://[::1:1"),
    ],
)
def test_an_address_that_is_none_is_refused(split: Path, device: str) -> None:
    refused("device-unknown", lambda: Encoder(Bundle.open(split), device))


def test_secrets_are_not_taken_from_an_address_and_not_sent_in_the_clear(
    split: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = refused("device-unknown", lambda: Encoder(Bundle.open(split), "triton:grpcs://me:hidden@a:1"))
    assert "hidden" not in str(error)
    monkeypatch.setenv("MACLIP_TRITON_TOKEN", "hidden")
    error = refused("remote-insecure", lambda: Encoder(Bundle.open(split), "triton:grpc://192.0.2.1:1"))
    assert "hidden" not in str(error)
    monkeypatch.setenv("MACLIP_TRITON_TOKEN", "hidden\r\nx: y")
    assert "hidden" not in str(refused("token-invalid", lambda: Encoder(Bundle.open(split), "triton:grpcs://a:1")))
    monkeypatch.delenv("MACLIP_TRITON_TOKEN")
    monkeypatch.setenv("MACLIP_TRITON_TOKEN_FILE", str(tmp_path / "none"))
    refused("token-invalid", lambda: Encoder(Bundle.open(split), "triton:grpcs://a:1"))
    monkeypatch.delenv("MACLIP_TRITON_TOKEN_FILE")
    monkeypatch.setenv("MACLIP_TRITON_CA", str(tmp_path / "none"))
    refused("remote-insecure", lambda: Encoder(Bundle.open(split), "triton:grpcs://a:1"))


def test_a_client_that_is_not_installed_is_named(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    error = refused("device-missing", lambda: Encoder(Bundle.open(split), "triton:grpc://127.0.0.1:1"))
    assert "maclip[triton]" in error.fix


def test_addresses() -> None:
    address = parse_address("triton:grpcs://[::1]:8001?timeout=0.5")
    assert (address.target, address.secure, address.timeout_s, address.is_local) == ("[::1]:8001", True, 0.5, True)
    address = parse_address("triton:grpc://encoder.lan:8001")
    assert (address.target, address.secure, address.timeout_s, address.is_local) == (
        "encoder.lan:8001", False, 3.0, False
    )  # fmt: skip


def test_tokens_are_sent_where_they_are_sooner(split: Path, bundle: Path) -> None:
    vit_b16, vit_b32_half = Loads(8 * 150_528, 8 * 197 * 768 * 4), Loads(8 * 150_528, 8 * 50 * 768 * 2)
    for speed in (1e5, 1e7, 1e9):
        assert not sends_tokens(vit_b16, speed, 0.0)  # larger than frames: never
    assert sends_tokens(vit_b32_half, 1.25e6, 0.1)  # 10 Mbit/s: 0.6 MB less are 0.47 s
    assert not sends_tokens(vit_b32_half, 1.25e8, 0.1)  # 1 Gbit/s: 5 ms
    assert not sends_tokens(vit_b32_half, 1.25e6, 0.6)  # a slow stem
    assert loads_of(Bundle.open(split).manifest) == Loads(FRAMES * SIZE * SIZE * 3, FRAMES * 4 * 3 * 4)
    assert loads_of(Bundle.open(bundle).manifest) is None  # one graph that takes frames
