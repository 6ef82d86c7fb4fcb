"""Galleries that many machines share: what several write at once, off line, and interrupted."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sharing_kit import INDEX, both, enroll, held, refused
from web_store import WebServer

pytest.importorskip("cryptography", reason="no library for signatures")

from maclip_runtime.gallery.sharing import follow, publish, publishing
from maclip_runtime.gallery.sharing.index import Item, merged

pytestmark = pytest.mark.usefixtures("quick")
NFC, NFD = "caf\u00e9", "cafe\u0301"  # the same class to a gallery


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
