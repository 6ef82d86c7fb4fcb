"""A shared gallery in a bucket."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sharing_kit import enroll, held, refused

pytest.importorskip("cryptography", reason="no library for signatures")

from maclip_runtime.gallery.sharing import follow, publish
from maclip_runtime.gallery.sharing.stores import open_store

pytestmark = pytest.mark.usefixtures("quick")


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
