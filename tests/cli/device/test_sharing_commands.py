"""`maclip-run gallery key`, `publish` and `follow` as a user meets them."""

from __future__ import annotations

import json
import types
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result
from web_store import WebServer

pytest.importorskip("cryptography", reason="no library for signatures")

from maclip_cli.device import sharing
from maclip_cli.device.app import app
from maclip_runtime import Gallery
from maclip_runtime.errors import MaclipError


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def refusal(done: Result) -> str:
    assert isinstance(done.exception, MaclipError), done.exception
    assert done.stdout == ""
    return done.exception.code


def test_a_gallery_is_published_and_followed(
    enrolled: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = tmp_path / "fleet.key", tmp_path / "door7.db"
    assert f"--trust {key}.pub" in run("gallery", "key", key).stdout
    with WebServer() as gone:
        url, port = gone.url, gone.port
    follow = ("gallery", "follow", url, "--gallery", other, "--bundle", bundle, "--trust", f"{key}.pub")
    publish = ("gallery", "publish", url, "--gallery", enrolled, "--key", key, "--json")
    assert refusal(run(*follow)) == "share-unreachable"
    assert refusal(run(*publish)) == "share-unreachable"
    assert refusal(run("gallery", "follow", url, "--gallery", other)) == "option-invalid"
    rounds: list[float] = []
    with ExitStack() as stack:

        def sleep(seconds: float) -> None:
            """Between two rounds: first there is no network, then clips, then a store that is damaged."""
            rounds.append(seconds)
            if len(rounds) == 2:
                web = stack.enter_context(WebServer(port=port))
                done = json.loads(run(*publish).stdout)
                assert (done["serial"], done["added"], done["clips"]) == (1, 4, 4)
                stack.callback(web.files.clear)
                damaged.append(web)
            if len(rounds) == 3:
                damaged[0].files["/fleet/index.json"] = b"junk"
            if len(rounds) == 5:
                raise KeyboardInterrupt

        damaged: list[WebServer] = []
        monkeypatch.setattr(sharing, "time", types.SimpleNamespace(sleep=sleep))
        done = run(*follow, "--every", 2, "--json")
    assert done.exit_code != 0
    assert rounds == [2.0] * 5
    (taken,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (taken["serial"], taken["added"], taken["removed"]) == (1, 4, 0)
    said = [line for line in done.stderr.splitlines() if "Trying again every 2 s" in line]
    assert len(said) == 2  # once for each reason
    with Gallery(other) as opened:
        assert {info.name for info in opened.classes()} == {"red light", "green light"}
