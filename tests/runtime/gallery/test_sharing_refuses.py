"""What a shared gallery refuses: tampering, old states, other bundles, wrong keys and addresses."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sharing_kit import INDEX, clip_of, enroll, held, refused
from tiny_bundle import FRAMES, WIDTH
from web_store import WebServer

pytest.importorskip("cryptography", reason="no library for signatures")

from maclip_runtime.gallery.sharing import follow, make_key, publish
from maclip_runtime.gallery.sharing.entries import entry_of
from maclip_runtime.gallery.sharing.index import SharedIndex, opened, sealed
from maclip_runtime.gallery.sharing.keys import Signer, trusted_keys
from maclip_runtime.gallery.sharing.stores import open_store

pytestmark = pytest.mark.usefixtures("quick")
NFC, NFD = "caf\u00e9", "cafe\u0301"  # the same class to a gallery


def test_a_store_that_was_tampered_with_is_refused(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", ("wave", 1)), made("b")
    trust = [keys / "own.pub"]
    publish(a, web.url, key=keys / "own")
    good = dict(web.files)
    outer = json.loads(good[INDEX])
    entry = next(path for path in good if "/clips/" in path)

    def with_index(**changed: str) -> None:
        web.files = {**good, INDEX: json.dumps({**outer, **changed}).encode()}

    with_index(index=outer["index"].replace("wave", "door"))
    refused("share-untrusted", lambda: follow(b, web.url, trust=trust))
    with_index(signature=base64.b64encode(bytes(64)).decode())
    refused("share-untrusted", lambda: follow(b, web.url, trust=trust))
    with_index(key=base64.b64encode(Signer(keys / "other").public).decode())
    refused("share-untrusted", lambda: follow(b, web.url, trust=trust))
    for junk in (b"", b"\xff", b"[]", b"{}", b'{"key": 1, "signature": 2, "index": 3}', b"[" * 100_000):
        web.files = {**good, INDEX: junk}
        refused("share-corrupt", lambda: follow(b, web.url, trust=trust))
    web.files = {**good, entry: good[entry][:-1] + b"x"}
    refused("share-corrupt", lambda: follow(b, web.url, trust=trust))
    web.files = {**good, entry: good[entry] + b"more"}
    refused("share-corrupt", lambda: follow(b, web.url, trust=trust))
    web.files = {INDEX: good[INDEX]}
    refused("share-corrupt", lambda: follow(b, web.url, trust=trust))
    assert not b.path.exists()


def test_an_index_that_is_signed_and_wrong_is_refused(web: WebServer, keys: Path, made) -> None:
    """Whoever holds a key may be careless, but makes no machine write where it should not, or fill its memory."""
    a, b = made("a", ("wave", 1)), made("b")
    publish(a, web.url, key=keys / "own")
    signer, trusted = Signer(keys / "own"), trusted_keys([keys / "own.pub"])
    index = opened(web.files[INDEX], trusted, "here")
    (item,) = index.items.values()

    def offer(bad: SharedIndex) -> None:
        web.files[INDEX] = sealed(bad, signer)

    for changed in (
        {"entry": "../../etc/passwd"}, {"entry": "/etc/passwd"}, {"size": 1 << 40}, {"size": 0}, {"at": "tomorrow"},
        {"class_name": "a\x1b[2J"}, {"class_name": "x" * 300}, {"digest": "d" * 200}, {"entry": None},
    ):  # fmt: skip
        offer(replace(index, items={item.id: replace(item, **changed)}))
        refused("share-corrupt", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    for changed in ({"serial": 0}, {"serial": 1 << 60}, {"frames": -1}, {"contract": ""}):
        offer(replace(index, **changed))
        refused("share-corrupt", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    offer(replace(index, items={item.id: replace(item, class_name="door")}))  # not what its entry says
    refused("share-corrupt", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    offer(replace(index, width=WIDTH + 1))
    refused("share-corrupt", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    content = entry_of(replace(clip_of("wave", 1), features=np.full((FRAMES, WIDTH), np.nan, np.float32)), "tiny")
    import hashlib

    name = hashlib.sha256(content).hexdigest()
    web.files[f"/fleet/clips/{name}.zip"] = content
    offer(replace(index, items={item.id: replace(item, entry=name, size=len(content))}))
    refused("share-corrupt", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    assert held(b) == set()


def test_an_old_state_is_refused(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", ("wave", 1)), made("b")
    trust = [keys / "own.pub"]
    publish(a, web.url, key=keys / "own")
    old = dict(web.files)
    enroll(a, ("wave", 2))
    publish(a, web.url, key=keys / "own")
    follow(b, web.url, trust=trust)
    new, web.files = web.files, old
    refused("share-rollback", lambda: follow(b, web.url, trust=trust))
    refused("share-rollback", lambda: publish(a, web.url, key=keys / "own"))
    fork = opened(new[INDEX], trusted_keys(trust), "here")
    web.files = {**new, INDEX: sealed(replace(fork, items={}), Signer(keys / "own"))}  # of the same number
    refused("share-rollback", lambda: follow(b, web.url, trust=trust))
    web.files = {}
    refused("share-rollback", lambda: follow(b, web.url, trust=trust))
    web.files = new
    assert follow(b, web.url, trust=trust).serial == 2


def test_another_bundles_gallery_is_refused(web: WebServer, keys: Path, made) -> None:
    publish(made("a", ("wave", 1)), web.url, key=keys / "own")
    other = made("b", contract="another")
    refused("contract-mismatch", lambda: follow(other, web.url, trust=[keys / "own.pub"]))
    assert not other.path.exists()
    enroll(other, ("wave", 1))
    refused("contract-mismatch", lambda: publish(other, web.url, key=keys / "own"))
    refused("gallery-empty", lambda: publish(made("c"), web.url, key=keys / "own"))


def test_a_server_that_ignores_conditions_is_not_published_to(keys: Path, made) -> None:
    a = made("a", ("wave", 1))
    with WebServer(obeys=False) as careless:
        refused("share-unsupported", lambda: publish(a, careless.url, key=keys / "own"))
    with WebServer() as weak:
        publish(a, weak.url, key=keys / "own")
        weak.weak = True
        enroll(a, ("wave", 2))
        refused("share-unsupported", lambda: publish(a, weak.url, key=keys / "own"))


def test_tokens_of_a_web_server(keys: Path, made, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    a = made("a", ("wave", 1))
    with WebServer(token="hidden-word") as closed:
        refused("share-refused", lambda: publish(a, closed.url, key=keys / "own"))
        monkeypatch.setenv("MACLIP_SHARE_TOKEN", "wrong")
        refused("share-refused", lambda: publish(a, closed.url, key=keys / "own"))
        monkeypatch.setenv("MACLIP_SHARE_TOKEN", "hidden-word")
        publish(a, closed.url, key=keys / "own")
    refused("share-refused", lambda: open_store("http://192.0.2.1/fleet"))  # it would travel unencrypted
    assert "hidden-word" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        *("", "fleet", "ftp://host/fleet", "https://", "https:///x", "https://me:hidden@host/x", "https://host/a/../b"),
        *("https://host/x?sig=hidden", "https://host/#x", "https://host:99999/x", "https://[::1/x"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    assert "hidden" not in str(refused("share-address", lambda: open_store(url)))


def test_keys(keys: Path, tmp_path: Path, made, web: WebServer) -> None:
    assert (keys / "own").stat().st_mode & 0o777 == 0o600
    refused("output-exists", lambda: make_key(keys / "own"))
    refused("output-unwritable", lambda: make_key(tmp_path / "none" / "key"))
    a = made("a", ("wave", 1))
    for wrong in (keys / "own.pub", keys / "none"):
        refused("key-invalid", lambda wrong=wrong: publish(a, web.url, key=wrong))
    for wrong in (keys / "own", keys / "none"):
        refused("key-invalid", lambda wrong=wrong: follow(a, web.url, trust=[wrong]))
    rsa = subprocess.run(
        ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"], capture_output=True, check=False
    )
    if rsa.returncode == 0:
        (tmp_path / "ec").write_bytes(rsa.stdout)
        assert "no Ed25519" in refused("key-invalid", lambda: publish(a, web.url, key=tmp_path / "ec")).message


def test_libraries_that_are_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    refused("share-missing", lambda: open_store("s3://fleet/doors"))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert "maclip[share]" in refused("signing-missing", lambda: make_key(tmp_path / "key")).fix
