"""Every command of `benchmarks/` runs at its smallest size: it prints a table and writes figures that can be true."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import rtsp_server
from few_classes import draw_few
from made_once import Once
from smallest import ROOT, run

from benchmarks import triton_server
from benchmarks.ablation.cells import CLIPS
from benchmarks.ladder_accuracy import work
from benchmarks.limit_rules import RULES, limit_by
from benchmarks.streaming_runners import SMALLEST, Exporting
from maclip.world.synth import write_clips
from maclip_runtime.limits.measured import OwnDistances

COMMANDS = (
    *("archive", "decoders", "doctor", "dropped_rows", "enrolment", "events", "fleet", "gpu", "ladder"),
    *("ladder_accuracy", "limit_rules", "match", "names", "open_set", "reconnects", "remote", "scale", "seeds"),
    *("serve", "serve_soak", "session_options", "soak", "streaming"),
)
HELPERS = {"command", "drawn", "flat_model", "gpu_runner", "slow_network", "small_model", "streaming_runners"}
HELPERS |= {"triton_server"}


@pytest.fixture(scope="session")
def bundles(once: Once) -> Path:
    """A folder of f32, a bundle of the tiny CLIP with random adapters."""
    return once("bundles", lambda folder: Exporting(folder, SMALLEST).turn("export"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of each test class of the drawn world."""
    folder = tmp_path_factory.mktemp("drawn") / "motion"
    write_clips(folder, "motion", 3, splits=("test",))
    return folder


def test_every_command_is_tested_here() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files == {*COMMANDS, *HELPERS}
    named = Path(__file__).read_text(encoding="utf-8")
    assert all(f'run("{name}", ' in named for name in COMMANDS)
    for name in COMMANDS:  # that `python -m` does what is called here
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert text.endswith('if __name__ == "__main__":\n    run(main)\n'), name


def test_archive(tmp_path: Path, bundles: Path) -> None:
    if find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    facts = run("archive", tmp_path, "--bundle", bundles / "f32")
    found, indexing = facts["find"], facts["index"]
    assert found["windows"] == 1_500
    assert found["recall"] >= found["worst_recall"] >= 0.95
    assert 0 < found["seconds"]["coarse"] < found["seconds"]["all"] <= found["worst_seconds"]
    assert found["bytes_a_window"] < 64 * 8 * 2
    assert found["swapped_difference"] < 1e-4
    assert indexing["windows"] > 2
    assert indexing["overhead"] > 0


def test_decoders(tmp_path: Path, drawn: Path) -> None:
    if find_spec("decord") is None:
        pytest.skip("decord is not installed")
    facts = run("decoders", tmp_path, drawn)
    (clip,) = facts["clips"]
    assert clip["frames"] > 8
    assert isinstance(clip["read_by_decord"], bool)
    assert facts["mean"] == {name: clip[name] for name in ("pyav", "decord", "cache")}
    assert all(value > 0 for value in facts["mean"].values())


def test_dropped_rows(tmp_path: Path) -> None:
    facts = run("dropped_rows", tmp_path)
    forms = ["all rows", "(a), (b)"]
    assert list(facts["flops"]) == list(facts["predicted_gain"]) == forms
    assert facts["flops"]["all rows"] > facts["flops"]["(a), (b)"] > 0
    assert len(facts["differences"]) == 4
    assert max(facts["differences"].values()) < 1e-5
    for by_form in facts["measured"].values():
        assert list(by_form) == forms
        assert by_form["all rows"]["gain"] == 1
        assert all(0 < row["best_ms"] <= row["median_ms"] for row in by_form.values())


def test_enrolment(tmp_path: Path, drawn: Path, bundles: Path) -> None:
    facts = run("enrolment", tmp_path, drawn, "--bundle", bundles / "f32")
    (pictures,) = facts["pictures"]
    assert pictures["clips"] == 12
    assert pictures["refused"] == 0
    assert 0 < pictures["min_brightness"] < pictures["max_brightness"] <= 255
    assert [offer["right_class"] for offer in facts["offered"]] == [True, False]
    for offer in facts["offered"]:
        assert offer["offered"] == 3
        assert 0 <= offer["refused"] <= 3
        assert 0 <= offer["interval"][0] < offer["interval"][1] <= 1


def test_limit_rules(tmp_path: Path, bundles: Path) -> None:
    facts = run("limit_rules", tmp_path, "--bundle", bundles / "f32")
    assert list(facts["rules"]) == ["validation", "test"]
    for rows in facts["rules"].values():
        assert rows["measured"]["actions"] > 0


def test_a_rule_gives_the_limit_that_it_says() -> None:
    seen = OwnDistances([1.0, 2.0], [4.0, 5.0], [])  # the best cuts lie from 2 to 4
    expected = {"prior": 3.5, "measured": 3.0, "both": 3.5, "mean": 3.25, "smaller": 3.0, "larger": 3.5}
    assert {name: limit_by(rule, seen, 3.5) for name, rule in RULES.items()} == expected
    nothing = OwnDistances([], [], [])
    assert {limit_by(rule, nothing, 3.5) for rule in RULES.values()} == {3.5}


def test_events(tmp_path: Path, bundles: Path) -> None:
    figure = tmp_path / "events.png"
    facts = run("events", tmp_path, "--bundle", bundles / "f32", "--figure", figure)
    assert figure.stat().st_size > 10_000
    assert list(facts["sets"]) == list(facts["drawn"]) == list(facts["limit"]) == ["validation", "test"]
    assert set(facts["sweeps"]) == {
        *("min_margin", "min_score", "min_duration_s", "gap_s", "overlap"),
    }
    for one in facts["sets"].values():
        assert one["happenings"] > 0
        for scores in (one["streams"], one["cut_exactly"]):
            assert scores["actions"] > 0
            assert 0 <= scores["found"] <= scores["actions"]
            assert scores["recall"] == pytest.approx(scores["found"] / scores["actions"], abs=1e-4)
    # Without any limit more is answered, rightly or wrongly, than with the narrowest.
    narrow, wide = facts["limit"]["test"][0], facts["limit"]["test"][-1]
    assert (narrow["shift"], wide["shift"]) == (-8.0, None)
    assert narrow["found"] + narrow["false_alarms"] <= wide["found"] + wide["false_alarms"]


def test_fleet(tmp_path: Path, bundles: Path) -> None:
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        pytest.skip("ray or pyarrow is not installed")
    facts = run("fleet", tmp_path, "--bundle", bundles / "f32")
    assert facts["equal"]
    one, threads, workers = facts["rows"]
    assert one["times"] == 1
    assert min(threads["times"], workers["times"], facts["ray_start_s"]) > 0
    assert facts["windows"] > 8


def test_gpu(tmp_path: Path, bundles: Path) -> None:
    """On the CPU's provider, which stands for a GPU's here."""
    facts = run("gpu", tmp_path, "--bundles", bundles)
    (row,) = facts["rows"]
    assert (row["device"], row["precision"], row["failed"]) == ("cpu", "f32", None)
    assert row["cosine"] > 0.99999
    assert row["probability"] < 1e-6
    assert 0 < row["step"]["p50"] < row["clip"]["p99"] < 1e3 * row["first_s"] * 10
    assert row["resident_mib"] > 10


def test_ladder(tmp_path: Path, bundles: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "blocks").symlink_to(bundles)
    facts = run("ladder", tmp_path, "--bundles", made)
    for blocks, ladder in zip(facts["rows"][::2], facts["rows"][1::2], strict=True):
        assert (blocks["kind"], ladder["kind"], blocks["ratio"]) == ("blocks", "ladder", 1)
        assert blocks["engine"] == ladder["engine"]
        assert {"stem", "tower"} <= set(ladder["stages_ms"])
        assert 0 < ladder["best_ms"] <= ladder["p50_ms"]
    blocks, ladder = facts["sizes"]
    assert ladder["tuned"] - ladder["adapters"] == blocks["tuned"] - blocks["adapters"]  # TPCM
    # The first temporal layer is the second of 4: s_1, W_2 z_2 (65 rows each), two rows of the class token, a feature.
    assert ladder["ring_mib"] == pytest.approx(8 * (2 * 65 + 2 + 4) * 64 * 2 / 2**20)


def test_ladder_accuracy(tmp_path: Path, drawn: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    listed = json.loads((data / "classes.json").read_text())
    for number, entry in enumerate(listed["classes"].values()):
        entry["split"] = "test" if number < 4 else "train"
    (data / "classes.json").write_text(json.dumps(listed))
    asked = (tmp_path / "scratch", "--clip", "nopos", "--split", 1, "--rows", "ladder", "--data", data)
    facts = run("ladder_accuracy", tmp_path, *asked)
    (cell,) = facts["cells"]
    assert (cell["clip"], cell["split"], cell["row"], cell["episodes"]) == ("nopos", 1, "ladder", 12)
    assert 0 < cell["accuracy"]["1"] <= 1
    assert cell["tuned"] > 400_000
    also = (*asked[:5], "--rows", "ladder,tpcm", "--finished")
    assert run("ladder_accuracy", tmp_path, *also)["cells"] == [cell]  # what is not there is not computed
    kept = work(tmp_path / "scratch" / "nopos-1-ladder", CLIPS[1], 1, "ladder", tmp_path / "none", 1.0, True)
    assert json.loads(json.dumps(asdict(kept))) == cell  # read, not computed: there are no clips


def test_match(tmp_path: Path) -> None:
    facts = run("match", tmp_path)
    (otam,) = facts["results"]
    assert (otam["metric"], facts["frames"], facts["width"]) == ("otam", 8, 512)
    few, many = otam["timings"]
    assert (few["classes"], many["classes"]) == (10, 1_000)
    assert 0 < few["best_ms"] < many["best_ms"] <= many["median_ms"]
    assert many["runs"] >= 15
    assert 0 < many["bytes_a_class"] < 1e6
    assert otam["nodes"] > 20
    if find_spec("tensorrt_rtx") is not None:
        assert otam["engine"]["bytes"] > 1e6
        assert otam["engine"]["build_seconds"] > 0


def test_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_few(monkeypatch)
    facts = run("seeds", tmp_path, str(tmp_path / "out"), "--seeds", "3")
    assert [one["seed"] for one in facts["found"]] == [0, 3]
    for one in facts["found"]:
        assert set(one["accuracy"]) == {"1", "5"}
        assert set(one["streams"]) == {"val", "test"}
    assert facts["found"][0]["accuracy"]["1"] > facts["found"][1]["accuracy"]["1"]  # trained for two episodes
    assert json.loads((tmp_path / "out/seed-3/prototype-only/config.json").read_text())["train"]["seed"] == 3


def test_names(tmp_path: Path) -> None:
    facts = run("names", tmp_path)
    asked = [(one["split"], one["shot"], one["names"]) for one in facts["found"]]
    assert asked == [(split, shot, names) for names in ("own", "none") for split in ("val", "test") for shot in (1, 5)]
    assert all(one["weight"] == 0 for one in facts["found"] if one["names"] == "none")
    assert {one["used"] for one in facts["found"]} == {False}
    assert all(0 < one["accuracy"] <= 1 for one in facts["found"])


def test_open_set(tmp_path: Path, bundles: Path) -> None:
    facts = run("open_set", tmp_path, "--bundle", bundles / "f32")
    for by_shots in facts["sets"].values():
        assert list(by_shots) == ["1-shot", "3-shot", "5-shot"]
        for shots, figures in by_shots.items():
            assert figures["galleries"] == 2
            assert figures["queries"] > 0
            shares = [figures["closed_set_accuracy"], *figures["answers"].values()]
            shares += [share for rule in figures["rules"].values() for share in rule.values()]
            assert all(0 <= share["mean"] <= 1 for share in shares)
            assert ("distance less the class's own" in figures["rules"]) == (shots != "1-shot")


def test_doctor(tmp_path: Path, bundles: Path) -> None:
    facts = run("doctor", tmp_path, "--bundle", bundles / "f32")
    for rows in facts["sets"].values():
        (row,) = rows
        assert row["wrong"] == 2  # one in each gallery
        assert row["wrong_named"] <= row["wrong"]
        assert 0 <= row["others_right_share"] <= 1
        assert row["others"] > row["others_named"]
    assert facts["large"]["clips"] == 8
    assert facts["large"]["seconds"] >= 0


@pytest.mark.skipif(not rtsp_server.is_here(), reason="no GStreamer RTSP server (gi) on this machine")
def test_reconnects(tmp_path: Path) -> None:
    facts = run("reconnects", tmp_path)
    assert facts["summary"]["reconnects"] == len(facts["returns"]) == 2
    assert all(0 < one["resume_s"] < 30 for one in facts["returns"])
    assert facts["summary"]["resident_last_mib"] > 10


@pytest.mark.skipif(triton_server.program() is None, reason=f"no Triton server: {triton_server.GET}")
def test_remote(tmp_path: Path) -> None:
    facts = run("remote", tmp_path)
    own, *others = facts["rows"]
    assert (own["network"], own["bytes_a_step"]) == ("own engine", 0)
    for row in others:
        assert row["bytes_a_step"] == 8 * 32 * 32 * 3
        assert 0 < row["waiting"]["p50"] < row["step"]["p50"]
        assert 0 < row["box"]["p50"] < row["step"]["p50"]


def test_serve_soak(tmp_path: Path, bundles: Path) -> None:
    facts = run("serve_soak", tmp_path, "--bundle", bundles / "f32")
    assert facts["requests"] >= 6
    assert facts["samples"][-1]["changes"] >= 2
    assert facts["samples"][-1]["windows"] >= 1
    assert facts["samples"][-1]["memory_mib"] > 10


def test_scale(tmp_path: Path) -> None:
    facts = run("scale", tmp_path)
    one, many = facts["rows"]
    assert (one["cameras"], one["pooled_cores"], many["cameras"]) == (1, 1, 20)
    busy = many["steps_s"] * facts["measured"]["network_ms"] / 1e3  # cores that would be busy all the time
    assert 0.8 * busy < many["pooled_cores"] < 3 * busy
    assert many["pinned_cores"] >= many["pooled_cores"]
    for row in (one, many):
        assert row["dispatched"]["median_s"] <= row["dispatched"]["p99_s"] <= facts["assumed"]["late_s"]
        assert row["servers_by"][row["bottleneck"]] == max(row["servers_by"].values())


def test_session_options(tmp_path: Path, bundles: Path) -> None:
    facts = run("session_options", tmp_path, bundles / "f32")
    assert list(facts["settings"]) == ["default", "sleep"]
    for row in facts["settings"].values():
        assert row["ms"] > 0
        assert 10 < row["mib_steps"] < 4096
        assert 10 < row["mib_batches"] < 4096


def test_soak(tmp_path: Path, bundles: Path) -> None:
    figure = tmp_path / "soak.png"
    facts = run("soak", tmp_path, "--bundle", bundles / "f32", "--figure", figure)
    assert figure.stat().st_size > 5_000
    assert facts["frames"] > 0
    assert isinstance(facts["flat"], bool)
    last = facts["samples"][-1]
    assert last["windows"] > 0
    assert last["changes"] > 0
    assert last["memory_mib"] > 10


def test_streaming(tmp_path: Path, bundles: Path) -> None:
    facts = run("streaming", tmp_path, "--bundles", bundles)
    eager, *others = facts["rows"]
    assert (eager["runner"], eager["ratio"], eager["other_share"]) == ("eager torch, whole window", 1.0, None)
    assert "maclip-run, onnxruntime" in {row["runner"] for row in others}
    for row in others:
        assert row["cosine"] > (0.999 if row["precision"] == "bf16" else 0.99999)  # they compute the same
        assert {"prepare", "stem", "tower", "match"} <= set(row["stages_ms"])
        assert 0 < row["best_ms"] <= row["p50_ms"] <= row["p90_ms"]
        assert 0 < row["other_share"] < 1
        assert row["ratio"] == pytest.approx(eager["p50_ms"] / row["p50_ms"])


def test_faults_are_said_in_two_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--bundle", str(tmp_path / "none"), "--smallest"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error[bundle-missing]: ")
    assert done.stderr.splitlines()[1].startswith("fix: ")


def test_serve(tmp_path: Path, bundles: Path) -> None:
    pytest.importorskip("fastapi")
    facts = run("serve", tmp_path, "--bundle", bundles / "f32")
    assert (facts["classes"], facts["clips"]) == (20, 100)
    assert all(0 < one["p50"] <= one["p95"] for one in facts["timings"])
