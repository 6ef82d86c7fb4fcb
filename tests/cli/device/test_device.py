"""`maclip-run` as a user meets it: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_bundle import write_bundle
from videos import color_video, write_sound

# Everything a training needs fails to import, as on a device with only maclip[cpu].
WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "open_clip", "onnx", "maclip", "maclip_export"}:
            raise ImportError(f"{name} is not on a device")
sys.meta_path.insert(0, Blocker())
from maclip_cli.device.app import main
main()
"""


def run(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )


def json_lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_refused(done: subprocess.CompletedProcess[str], code: str, exit_code: int = 2) -> None:
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("device: ")]
    assert lines[0].startswith(f"error[{code}]: "), done.stderr
    assert lines[1].startswith("fix: ")
    assert len(lines) == 2


def test_enroll_recognise_and_list_without_torch(bundle: Path, gallery: Path, clips: Path, tmp_path: Path) -> None:
    both = ("--bundle", bundle, "--gallery", gallery)
    done = run("enroll", "red light", clips / "red1.mp4", clips / "red2.mp4", *both)
    assert done.returncode == 0, done.stderr
    assert "2 new, 2 in all" in done.stdout
    (enrolled,) = json_lines(run("enroll", "green light", clips / "green1.mp4", *both, "--json"))
    assert enrolled.pop("forced") == enrolled.pop("notes") == []
    assert enrolled == {"name": "green light", "added": 1, "clips": 1, "text_name": "green light", "ids": [3]}

    done = run("recognize", clips / "red3.mp4", *both, "--whole-clip")
    assert done.returncode == 0
    assert "red3.mp4: red light" in done.stdout
    (answer,) = json_lines(run("recognize", clips / "red3.mp4", *both, "--whole-clip", "--json"))
    assert (answer["label"], answer["unknown"]) == ("red light", False)
    (answer,) = json_lines(run("recognize", clips / "red3.mp4", *both, "--whole-clip", "--json", "--limit", "-1"))
    assert (answer["label"], answer["nearest"]) == ("unknown", "red light")

    video = color_video(tmp_path / "long.mp4", [("red", 3.0), ("green", 3.0)])
    events = json_lines(run("recognize", video, *both, "--json", "--window", "1", "--hop", "0.5"))
    assert [event["label"] for event in events if event["kind"] == "end"] == ["red light", "green light"]
    assert set(events[0]) == {
        "schema",
        "kind",
        "label",
        "score",
        "margin",
        "start_s",
        "end_s",
        "source",
        "reason",
        "at",
        "match",
        "id",
        "started_at",
        "ended_at",
        "withdrawn",
        "strip",
        "clip",
    }
    done = run("recognize", video, *both)
    assert "start  red light  match 0." in done.stdout
    assert "end    green light" in done.stdout

    classes = json_lines(run("gallery", "list", "--gallery", gallery, "--json"))
    assert [(info["name"], info["clips"]) for info in classes] == [("red light", 2), ("green light", 1)]
    assert "green light" in run("gallery", "list", "--gallery", gallery).stdout


def test_devices_choice_goes_to_stderr_where_it_is_new_or_asked_for(
    bundle: Path, gallery: Path, clips: Path, tmp_path: Path
) -> None:
    command = ("enroll", "red light", clips / "red1.mp4", "--bundle", bundle, "--gallery", gallery, "--json", "--force")
    for more, said in (((), True), ((), False), (("--verbose",), True)):
        done = run(*command, *more, env={"MACLIP_CACHE": str(tmp_path)})
        assert len(done.stdout.splitlines()) == 1
        assert ("device: " in done.stderr) is said, more


def test_gallery_is_looked_at_and_changed(enrolled: Path, clips: Path) -> None:
    which = ("--gallery", enrolled)
    shown = json_lines(run("gallery", "show", "red light", *which, "--json"))
    assert [clip["source"] for clip in shown] == [str(clips / "red1.mp4"), str(clips / "red2.mp4")]
    assert run("gallery", "show", "red light", *which).returncode == 0
    assert run("gallery", "remove", "red light", "--clip", shown[0]["id"], *which).returncode == 0
    assert run("gallery", "rename", "red light", "stop", *which).returncode == 0
    assert json_lines(run("gallery", "remove", "green light", *which, "--json")) == [
        {"name": "green light", "removed": 2}
    ]
    names = [info["name"] for info in json_lines(run("gallery", "list", *which, "--json"))]
    assert names == ["stop"]
    assert_refused(run("gallery", "show", "red light", *which), "class-unknown")
    assert_refused(run("gallery", "list", "--gallery", enrolled.with_name("none.db")), "gallery-missing")


def test_info_says_what_a_bundle_is(bundle: Path) -> None:
    (facts,) = json_lines(run("info", bundle, "--json"))
    assert (facts["trained"], facts["frames"], sorted(facts["graphs"])) == (False, 4, ["match", "prototype", "visual"])
    assert "frame-cosine" in run("info", bundle).stdout


@pytest.mark.parametrize(
    ("clip", "name", "code"),
    [
        ("missing.mp4", "red light", "clip-unreadable"),
        ("short.mp4", "red light", "clip-too-short"),
        ("sound.mp4", "red light", "clip-unreadable"),
        ("words.mp4", "red light", "clip-unreadable"),
        ("red1.mp4", "unknown", "name-invalid"),
        ("red1.mp4", "red light", "clip-rejected"),
    ],
)
def test_bad_enrolment_leaves_the_gallery(
    bundle: Path, enrolled: Path, clips: Path, tmp_path: Path, clip: str, name: str, code: str
) -> None:
    color_video(tmp_path / "short.mp4", [("red", 0.2)])
    write_sound(tmp_path / "sound.mp4")
    (tmp_path / "words.mp4").write_text("words")
    shutil.copy(clips / "red1.mp4", tmp_path)
    before = json_lines(run("gallery", "list", "--gallery", enrolled, "--json"))
    done = run("enroll", name, clips / "red3.mp4", tmp_path / clip, "--bundle", bundle, "--gallery", enrolled)
    assert_refused(done, code)
    assert json_lines(run("gallery", "list", "--gallery", enrolled, "--json")) == before


def test_bad_bundles_galleries_and_devices(bundle: Path, enrolled: Path, clips: Path, tmp_path: Path) -> None:
    clip = clips / "red3.mp4"
    changed = Path(shutil.copytree(bundle, tmp_path / "changed"))
    data = bytearray((changed / "visual.onnx").read_bytes())
    data[-10] ^= 1
    (changed / "visual.onnx").write_bytes(data)
    other = write_bundle(tmp_path / "other", contract="another")
    (tmp_path / "text.db").write_text("no database" * 100)
    for chosen, gallery, extra, code, exit_code in [
        (changed, enrolled, (), "bundle-corrupt", 2),
        (tmp_path, enrolled, (), "bundle-missing", 2),
        (other, enrolled, (), "contract-mismatch", 2),
        (bundle, tmp_path / "text.db", (), "gallery-corrupt", 2),
        (bundle, tmp_path / "none.db", (), "gallery-empty", 2),
        (bundle, enrolled, ("--device", "cuda"), "device-missing", 3),
        (bundle, enrolled, ("--device", "abacus"), "device-unknown", 2),
    ]:
        if code == "device-missing" and shutil.which("nvidia-smi"):
            continue
        done = run("recognize", clip, "--bundle", chosen, "--gallery", gallery, *extra)
        assert_refused(done, code, exit_code)
    done = run("enroll", "red light", clip, "--bundle", bundle, "--gallery", tmp_path / "absent" / "g.db")
    assert_refused(done, "output-unwritable")
    assert not (tmp_path / "absent").exists()


def test_wrong_usage_is_the_users_input() -> None:
    for args in (("enroll",), ("recognize", "a.mp4"), ("--what",), ("gallery", "list")):
        done = run(*args)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_our_own_fault_is_one_line_unless_asked(bundle: Path, enrolled: Path, clips: Path) -> None:
    broken = WITHOUT_TORCH.replace(
        "main()", "import maclip_runtime.decisions.classification as c\nc.judge = lambda *a: 1 / 0\nmain()"
    )
    args = [sys.executable, "-c", broken, "recognize", str(clips / "red3.mp4"), "--whole-clip"]
    args += ["--bundle", str(bundle), "--gallery", str(enrolled), "--device", "cpu"]
    for debug, traceback in (("0", False), ("1", True)):
        env = {**os.environ, "MACLIP_DEBUG": debug}
        done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=False, env=env)
        assert done.returncode == 1
        assert "error[internal]: ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) is traceback


def test_a_second_interrupt_does_not_wait_for_a_frame(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    slow = WITHOUT_TORCH.replace(
        "main()",
        "import time, maclip_runtime.decisions.events as r\n"
        "r.judge = lambda *a: (print('ready', file=sys.stderr, flush=True), time.sleep(60))\nmain()",
    )
    video = color_video(tmp_path / "v.mp4", [("red", 3.0)])
    args = [sys.executable, "-c", slow, "recognize", str(video), "--bundle", str(bundle), "--gallery", str(enrolled)]
    process = subprocess.Popen([*args, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)  # two that come at once may be one
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_reader_that_leaves_early_is_no_fault(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    video = color_video(tmp_path / "v.mp4", [("red", 60.0)])
    args = [sys.executable, "-c", WITHOUT_TORCH, "recognize", str(video), "--bundle", str(bundle), "--json"]
    process = subprocess.Popen(
        [*args, "--gallery", str(enrolled), "--hop", "0.1", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
