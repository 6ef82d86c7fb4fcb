"""Who may use the server: names, origins, tokens, and what every answer says to the browser."""

from __future__ import annotations

import http.client
import json
import os
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, serving

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.serve.access import FREE_TRIES, Access
from maclip_runtime.serve.server import Address, bind, make_server, require_packages
from maclip_runtime.serve.state import State


@pytest.fixture(scope="module")
def local(bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(bundle, tmp_path_factory.mktemp("local") / "gallery.db") as served:
        served.studio.recognizer.enroll("red light", clips / "red1.mp4")
        yield served


@pytest.fixture
def locked(bundle: Path, enrolled: Path) -> Iterator[Served]:
    with serving(bundle, enrolled, required=True) as served:
        yield served


def test_this_machine_needs_no_token_but_its_own_name(local: Served) -> None:
    assert local.call("GET", "/api/session") == {"required": False, "open": True}
    assert local.ask("GET", "/api/state", Host="evil.example")[1]["code"] == "host-unknown"
    assert local.ask("GET", "/", Host="evil.example")[0] == 403


def test_other_pages_cannot_change_anything(local: Served) -> None:
    body = {"name": "red light"}
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        status, found = local.ask("POST", "/api/classes/remove", body, **headers)
        assert (status, found["code"]) == (403, "origin-foreign")
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{local.port}/api/live", origin="http://evil.example")  # type: ignore[arg-type]
    assert local.ask("POST", "/api/classes/remove", body, Origin=local.url)[0] == 200


def test_a_body_that_does_not_say_its_size_is_bounded(local: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.port, timeout=30)
    body = (b"x" * 65536 for _ in range(20))
    connection.request("POST", "/api/classes/remove", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "upload-too-large")
    connection.close()


def test_every_answer_has_the_headers(local: Served) -> None:
    for path in ("/", "/page/js/main.js", "/api/state", "/nowhere"):
        request = urllib.request.Request(local.url + path)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error  # type: ignore[assignment]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"]


def test_the_page_loads_nothing_from_elsewhere(local: Served) -> None:
    from maclip_runtime.serve.app import PAGE

    for path in PAGE.rglob("*"):
        if path.suffix in {".js", ".html", ".css"}:
            text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
            assert "http://" not in text, path
            assert "https://" not in text, path
            assert len(text.splitlines()) <= 350, path
    words = [json.loads((PAGE / "lang" / f"{name}.json").read_text()) for name in ("en", "de", "zh")]
    for other in words[1:]:
        assert set(words[0]) - set(other) <= {key for key in words[0] if key.endswith(".one")}


def test_elsewhere_the_token_opens_the_door(locked: Served) -> None:
    assert locked.call("GET", "/api/session") == {"required": True, "open": False}
    assert b"<html" in locked.call("GET", "/")  # the page itself holds nothing
    assert locked.ask("GET", "/api/state")[1]["code"] == "token-missing"
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{locked.port}/api/live")
    assert locked.ask("GET", "/api/state", Authorization=f"Bearer {locked.token}")[0] == 200
    assert locked.ask("POST", "/api/login", {"token": "wrong"})[1]["code"] == "token-wrong"
    request = urllib.request.Request(
        f"{locked.url}/api/login", json.dumps({"token": locked.token}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    session = cookie.partition(";")[0]
    assert locked.ask("GET", "/api/state", Cookie=session)[0] == 200
    locked.ask("POST", "/api/logout", {}, Cookie=session)
    assert locked.ask("GET", "/api/state", Cookie=session)[0] == 401


def test_wrong_tokens_are_limited(locked: Served) -> None:
    answers = [locked.ask("POST", "/api/login", {"token": f"wrong-{n}"})[0] for n in range(FREE_TRIES + 2)]
    assert answers[0] == 401
    assert answers[-1] == 429
    status, found = locked.ask("POST", "/api/login", {"token": locked.token})
    assert (status, found["code"]) == (429, "too-many-tries")  # nor can the right one be found so


def test_the_token_is_kept_as_a_hash_for_its_owner(tmp_path: Path) -> None:
    state = State(tmp_path / "robot.db")
    access = Access(state, required=True)
    token = access.make_token()
    assert token
    assert access.make_token() is None  # once
    assert token not in state.path.read_text()
    assert stat.S_IMODE(os.stat(state.path).st_mode) == 0o600
    again = Access(State(tmp_path / "robot.db"), required=True)
    assert again.is_token(token, "here")
    session = again.open_session()
    assert again.is_session(session)
    newer = again.make_token(new=True)
    assert newer
    assert not again.is_session(session)  # whoever had the old one is out
    assert not again.is_token(token, "here")
    assert Access(state, required=False).make_token() is None
    state.path.write_text("[")
    with pytest.raises(MaclipError) as caught:
        State(tmp_path / "robot.db")
    assert caught.value.code == "state-corrupt"


def test_what_the_server_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: Served) -> None:
    with pytest.raises(MaclipError) as caught:
        bind(Address("127.0.0.1", local.port))
    assert caught.value.code == "address-taken"
    (tmp_path / "bad.pem").write_text("no certificate")
    from fastapi import FastAPI

    with pytest.raises(MaclipError) as caught:
        make_server(FastAPI(), Address("127.0.0.1", 0, tmp_path / "bad.pem"))
    assert caught.value.code == "certificate-invalid"
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MaclipError) as caught:
        require_packages()
    assert (caught.value.code, caught.value.exit_code) == ("serve-missing", EXIT_MACHINE_LACKS)
