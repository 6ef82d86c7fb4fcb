"""Galleries that many machines share: on a plain web server, in a bucket, by several at once, and under attack."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FRAMES, WIDTH
from web_store import WebServer

pytest.importorskip("cryptography", reason="no library for signatures")

from maclip_runtime import EnrolledClip, MaclipError
from maclip_runtime.gallery.sharing import follow, make_key, publish, publishing
from maclip_runtime.gallery.sharing.entries import entry_of
from maclip_runtime.gallery.sharing.index import Item, SharedIndex, merged, opened, sealed
from maclip_runtime.gallery.sharing.journal import SharedGallery
from maclip_runtime.gallery.sharing.keys import Signer, trusted_keys
from maclip_runtime.gallery.sharing.stores import open_store
from maclip_runtime.gallery.sheet import decoded

INDEX = "/fleet/index.json"
NFC, NFD = "caf\u00e9", "cafe\u0301"  # the same class to a gallery


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys `own` and `other`, and their public ones."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        make_key(folder / name)
    return folder


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MAX_PAUSE_SECONDS", 0.01)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., SharedGallery]]:
    """Opens galleries in the test's folder by name, and closes them after the test."""
    galleries: list[SharedGallery] = []

    def make(name: str, *clips: tuple[str, int], contract: str = "tiny") -> SharedGallery:
        galleries.append(SharedGallery(tmp_path / f"{name}.db", contract=contract))
        if clips:
            enroll(galleries[-1], *clips)
        return galleries[-1]

    yield make
    for one in galleries:
        one.close()


def picture() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    assert decoded(stream.getvalue()) is not None
    return stream.getvalue()


def clip_of(name: str, seed: int) -> EnrolledClip:
    features = np.random.default_rng(seed).normal(size=(FRAMES, WIDTH)).astype(np.float32)
    return EnrolledClip(
        name, None, None, features, features, f"digest-{seed}", f"{seed}.mp4", 1.0, {"sharp": 1.0}, picture()
    )


def enroll(gallery: SharedGallery, *clips: tuple[str, int]) -> None:
    made = [clip_of(*one) for one in clips]
    gallery.add(made, np.stack([one.features for one in made]), "graph")


def held(gallery: SharedGallery) -> set[tuple[str, str]]:
    return {(clip.class_name, clip.digest) for clip in (*gallery.clips(), *gallery.negatives())}


def refused(code: str, do: Callable[[], object]) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        do()
    assert caught.value.code == code, caught.value
    return caught.value


def both(a: SharedGallery, b: SharedGallery, url: str, keys: Path) -> None:
    """Each publishes, and then each follows."""
    for one in (a, b):
        publish(one, url, key=keys / "own")
    for one in (a, b):
        follow(one, url, trust=[keys / "own.pub"])


def test_clips_come_go_and_move_to_another_class(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", ("wave", 1), ("wave", 2), ("knock", 3), ("", 4)), made("b")
    done = publish(a, web.url, key=keys / "own")
    assert (done.serial, done.added, done.removed, done.clips, done.tries) == (1, 4, 0, 4, 1)
    taken = follow(b, web.url, trust=[keys / "own.pub"])
    assert (taken.serial, taken.added, taken.removed, set(taken.classes)) == (1, 4, 0, {"wave", "knock"})
    assert held(a) == held(b)
    for one, other in zip(a.clips(), sorted(b.clips(), key=lambda clip: clip.digest), strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        assert replace(one, features=0, query=0, id=0) == replace(other, features=0, query=0, id=0)
    generation = b.generation
    assert follow(b, web.url, trust=[keys / "own.pub"]).added == 0
    assert web.requests[-1] == ("GET", INDEX, 304)
    assert b.generation == generation  # a running recognition has nothing to do
    for status in (200, 304):  # whoever published has nothing to take over, and knows that from then on
        assert follow(a, web.url, trust=[keys / "own.pub"]).added == 0
        assert web.requests[-1] == ("GET", INDEX, status)
    a.remove("knock")
    a.rename("wave", "greet")
    b.remove("wave", clip_id=b.clips("wave")[0].id)  # which is renamed over there, and so becomes another clip
    both(a, b, web.url, keys)
    assert held(a) == held(b) == {("greet", "digest-1"), ("greet", "digest-2"), ("", "digest-4")}
    enroll(b, ("knock", 3))  # what was removed comes back
    both(b, a, web.url, keys)
    assert held(a) == held(b)
    assert ("knock", "digest-3") in held(a)


def test_what_was_enrolled_off_line_stays_and_catches_up(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", (NFD, 1)), made("b", ("point", 2), (NFC, 5))
    publish(a, web.url, key=keys / "own")
    follow(b, web.url, trust=[keys / "own.pub"])
    assert held(b) == {(NFC, "digest-1"), (NFC, "digest-5"), ("point", "digest-2")}  # as b spells it
    web.__exit__()
    enroll(b, ("point", 3))
    b.remove(NFC, clip_id=b.clips(NFC)[0].id)
    error = refused("share-unreachable", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    assert "nothing here has changed" in error.fix
    refused("share-unreachable", lambda: publish(b, web.url, key=keys / "own"))
    with WebServer(port=web.port) as back:
        back.files = web.files
        both(b, a, back.url, keys)
        assert {name for name, _ in held(b)} == {NFC, "point"}
        assert {digest for _, digest in held(a)} == {digest for _, digest in held(b)}
        assert len(held(a)) == 3


def test_two_writers_at_once_lose_nothing(web: WebServer, keys: Path, made) -> None:
    writers = [made(f"w{n}", *(("wave", 10 * n + k) for k in range(3))) for n in range(2)]
    both_read = threading.Barrier(2)
    waited: list[str] = []

    def before(method: str, path: str) -> None:
        if method == "PUT" and path == INDEX and len(waited) < 2:  # both have read the same state
            waited.append(path)
            both_read.wait(10)

    web.before = before
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: publish(one, web.url, key=keys / "own"), writers))
    assert sorted(one.tries for one in done) == [1, 2]
    assert sorted(one.serial for one in done) == [1, 2]
    web.before = None
    reader = made("reader")
    follow(reader, web.url, trust=[keys / "own.pub"])
    assert len(held(reader)) == 6
    writers[0].remove("wave", clip_id=writers[0].clips()[0].id)
    enroll(writers[1], ("wave", 99))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: publish(one, web.url, key=keys / "own"), writers))
    follow(reader, web.url, trust=[keys / "own.pub"])
    assert {digest for _, digest in held(reader)} == {f"digest-{n}" for n in (1, 2, 10, 11, 12, 99)}


def test_writers_with_keys_of_their_own_trust_each_other(web: WebServer, keys: Path, made) -> None:
    a, b, c = made("a", ("wave", 1)), made("b", ("knock", 2)), made("c")
    publish(a, web.url, key=keys / "own")
    refused("share-untrusted", lambda: publish(b, web.url, key=keys / "other"))
    publish(b, web.url, key=keys / "other", trust=[keys / "own.pub"])
    refused("share-untrusted", lambda: follow(c, web.url, trust=[keys / "own.pub"]))
    follow(c, web.url, trust=[keys / "own.pub", keys / "other.pub"])
    assert held(c) == held(a) | held(b)


def test_the_later_change_counts_and_a_removal_at_the_same_time() -> None:
    early, late = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z"
    items = [
        Item(NFC, "d", early, False, "0" * 64, 1), Item(NFD, "d", early, True), Item(NFC, "d", late, False),
        Item(NFD, "d", late, True),
    ]  # fmt: skip
    for order in itertools.permutations(items):
        assert merged(order[:2], order[2:]) == {items[0].id: items[3]}
    rng = random.Random(0)
    drawn = [
        Item("wave", str(rng.randrange(4)), f"2026-01-01T00:00:00.00{rng.randrange(3)}Z", rng.random() < 0.5)
        for _ in range(30)
    ]
    expected = merged(drawn, ())
    for _ in range(20):
        rng.shuffle(drawn)
        cut = rng.randrange(30)
        assert merged(merged(drawn[:cut], ()).values(), merged(drawn[cut:], ()).values()) == expected


def test_a_clock_that_is_behind_loses_no_removal(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", ("wave", 1)), made("b")
    publish(a, web.url, key=keys / "own")
    with sqlite3.connect(a.path) as ahead:  # as if the clip came from a machine whose clock is years ahead
        ahead.execute("UPDATE shared_changes SET at = '2099-01-01T00:00:00.000Z'")
    publish(a, web.url, key=keys / "own")
    follow(b, web.url, trust=[keys / "own.pub"])
    b.remove("wave")
    assert publish(b, web.url, key=keys / "own").removed == 1
    follow(a, web.url, trust=[keys / "own.pub"])
    assert held(a) == set()
    enroll(a, ("wave", 1))
    assert publish(a, web.url, key=keys / "own").added == 1


def test_an_interrupted_publishing_is_completed_and_an_interrupted_following_resumed(
    web: WebServer, keys: Path, made, tmp_path: Path
) -> None:
    a, b = made("a", *(("wave", n) for n in range(6))), made("b", ("knock", 7))
    count = itertools.count()

    def stop(method: str, path: str) -> None:
        if path.startswith("/fleet/clips/") and next(count) in (3, 4):  # asked twice
            raise ConnectionAbortedError

    web.before = stop
    refused("share-unreachable", lambda: publish(a, web.url, key=keys / "own"))
    assert INDEX not in web.files
    publish(a, web.url, key=keys / "own")
    count = itertools.count()
    fetched = {path for method, path, _ in web.requests}
    before = held(b)
    refused("share-unreachable", lambda: follow(b, web.url, trust=[keys / "own.pub"]))
    assert held(b) == before  # nothing, where all cannot be had
    assert fetched
    web.requests.clear()
    follow(b, web.url, trust=[keys / "own.pub"])
    assert sum(method == "GET" and "/clips/" in path for method, path, _ in web.requests) == 3  # 3 were there already
    assert held(b) == before | held(a)
    assert not list(tmp_path.glob(".*incoming"))


def test_a_following_that_is_killed_leaves_the_gallery_as_it_was(web: WebServer, keys: Path, made, tmp_path) -> None:
    a, b = made("a", *(("wave", n) for n in range(4))), made("b", ("knock", 7))
    publish(a, web.url, key=keys / "own")
    code = """
import os, sys
from maclip_runtime.gallery.sharing import follow, journal
real = journal.Importing.clip
def clip(self, one, seen=[]):
    seen.append(one)
    if len(seen) == 3:
        os._exit(9)
    return real(self, one)
journal.Importing.clip = clip
with journal.SharedGallery(sys.argv[1]) as gallery:
    follow(gallery, sys.argv[2], trust=[sys.argv[3]])
"""
    command = [sys.executable, "-c", code, str(b.path), web.url, str(keys / "own.pub")]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    assert held(b) == {("knock", "digest-7")}
    web.requests.clear()
    follow(b, web.url, trust=[keys / "own.pub"])
    assert len(held(b)) == 5
    assert not [path for _, path, _ in web.requests if "/clips/" in path]  # all were fetched before


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


def test_a_gallery_that_changes_while_clips_are_fetched_is_looked_at_again(web: WebServer, keys: Path, made) -> None:
    a, b = made("a", ("wave", 1), ("wave", 2)), made("b", ("knock", 3))
    publish(a, web.url, key=keys / "own")
    follow(b, web.url, trust=[keys / "own.pub"])
    with sqlite3.connect(a.path) as ahead:  # a enrolls both again, far later than b changes anything
        ahead.execute("UPDATE shared_changes SET at = '2099-01-01T00:00:00.000Z'")
    publish(a, web.url, key=keys / "own")
    tampered = []

    def before(method: str, path: str) -> None:
        if "/clips/" in path and not tampered:
            tampered.append(path)
            with sqlite3.connect(b.path) as other:  # an old state of the notes: one clip more is wanted
                other.execute("UPDATE shared_changes SET at = '2020-01-01T00:00:00.000Z'")

    enroll(a, ("wave", 4))
    publish(a, web.url, key=keys / "own")
    with sqlite3.connect(b.path) as other:
        other.execute("UPDATE shared_changes SET at = '2099-01-01T00:00:00.000Z' WHERE digest != 'digest-2'")
    web.before = before
    follow(b, web.url, trust=[keys / "own.pub"])
    assert tampered
    assert held(b) == held(a) | {("knock", "digest-3")}


def test_a_server_that_ignores_conditions_is_not_published_to(keys: Path, made) -> None:
    a = made("a", ("wave", 1))
    with WebServer(obeys=False) as careless:
        refused("share-unsupported", lambda: publish(a, careless.url, key=keys / "own"))
    with WebServer() as weak:
        publish(a, weak.url, key=keys / "own")
        weak.weak = True
        enroll(a, ("wave", 2))
        refused("share-unsupported", lambda: publish(a, weak.url, key=keys / "own"))


def test_others_that_never_stop_writing_end_the_attempt(web: WebServer, keys: Path, made, monkeypatch) -> None:
    monkeypatch.setattr(publishing, "MAX_TRIES", 3)
    monkeypatch.setattr(publishing, "MAX_PAUSE_SECONDS", 0.0)
    answer = web.answer
    web.answer = lambda method, path, *rest: (
        (412, b"")
        if (method, path) == ("PUT", INDEX)
        else answer(  # type: ignore
            method, path, *rest
        )
    )
    refused("share-busy", lambda: publish(made("a", ("wave", 1)), web.url, key=keys / "own"))


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


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a server that speaks S3."""
    pytest.importorskip("obstore")
    server_of = pytest.importorskip("moto.server")
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    kept = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL=address, AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="some", AWS_SECRET_ACCESS_KEY="word",
    )  # fmt: skip
    urllib.request.urlopen(urllib.request.Request(f"{address}/fleet", method="PUT")).close()
    yield "s3://fleet/doors"
    os.environ.clear()
    os.environ.update(kept)
    server.stop()


def test_a_bucket_serves_as_a_store_for_two_writers_at_once(bucket: str, keys: Path, made) -> None:
    writers = [made(f"w{n}", *(("wave", 10 * n + k) for k in range(3))) for n in range(2)]
    reader = made("reader")
    for turn in range(2):
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda one: publish(one, bucket, key=keys / "own"), writers))
        for one in (*writers, reader):
            follow(one, bucket, trust=[keys / "own.pub"])
        assert held(reader) == held(writers[0]) == held(writers[1])
        writers[0].remove("wave", clip_id=writers[0].clips()[0].id)
        enroll(writers[1], ("knock", 99 + turn))
    assert done[0].serial != done[1].serial
    assert len(held(reader)) == 6
    assert follow(reader, bucket, trust=[keys / "own.pub"]).added == 0  # as before: the index is not sent
    store = open_store(bucket)
    assert store.get("none", 10) is None
    refused("share-corrupt", lambda: store.get("index.json", 10))


def test_a_bucket_that_is_not_there(bucket: str, keys: Path, made) -> None:
    refused("share-unreachable", lambda: publish(made("a", ("wave", 1)), "s3://none/doors", key=keys / "own"))


def test_libraries_that_are_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    refused("share-missing", lambda: open_store("s3://fleet/doors"))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert "maclip[share]" in refused("signing-missing", lambda: make_key(tmp_path / "key")).fix
