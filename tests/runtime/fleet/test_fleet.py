"""Work spread over a Ray cluster of several nodes is what one process does, whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_fixtures import drawn_data, make_model
from fleet_jobs import Counting
from typer.testing import CliRunner
from videos import color_video

from maclip_cli.device.app import app
from maclip_runtime import Archive, MaclipError, Recognizer
from maclip_runtime.archive import Progress
from maclip_runtime.archive.store import Store
from maclip_runtime.archive.view import View
from maclip_runtime.fleet import HERE, cluster, in_order, open_fleet

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's address in its network
NODE = {"node_ip_address": HEAD, "object_store_memory": 80_000_000}

# `maclip-run` that waits, each time a part of a video has arrived, until its standard input ends.
HELD = """
import sys
from maclip_cli.device import index
from maclip_cli.device.app import main

tell = index._Bar.__call__
index._Bar.__call__ = lambda bar, done: (tell(bar, done), sys.stdin.read())
main()
"""

__all__ = ["drawn_data", "make_model"]  # fixtures

pytestmark = pytest.mark.long


class Nodes:
    """A head without work of its own, and workers with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 2, "worker_niceness": 0}
        head = {**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers = [self.cluster.add_node(num_cpus=1, **NODE) for _ in range(2)]
        self.address: str = self.cluster.address
        self._connection = ExitStack()
        self.fleet = self._connection.enter_context(open_fleet(self.address))

    def leave(self) -> None:
        self._connection.close()

    def kill_one(self) -> None:
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)

    def kill_all(self) -> None:
        for node in [self.cluster.head_node, *self.workers]:
            for processes in node.all_processes.values():
                for one in processes:
                    os.kill(one.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the tests' own modules
        made = Nodes()
        yield made
        made.leave()
        made.cluster.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of 6 to 18 s."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        parts = [("blue", 2.0), ("red", 2.0), ("green", 2.0)] * (1 + number % 3)
        color_video(folder / f"{number}.mp4", parts, seed=number)
    return folder


@contextmanager
def archive(store: Path, bundle: Path) -> Iterator[Archive]:
    with Archive.open(store, bundle, device="cpu", threads=1) as opened:
        yield opened


def view_of(store: Path) -> View:
    opened = Store(store)
    assert opened.settings is not None
    return View(opened, opened.settings)


def same(a: View, b: View) -> bool:
    """Whether two views have the same windows of the same videos with the same bytes."""
    everything = np.arange(len(a))
    return (
        len(a) == len(b)
        and [one.record for one in a.videos] == [one.record for one in b.videos]
        and all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("video", "number", "times"))
        and np.array_equal(a.features(everything), b.features(everything))
    )


def refused(use: Callable[[], object]) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        use()
    return caught.value


def test_each_part_arrives_once_though_a_worker_dies(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [(share, number) for share in range(6) for number in range(5)]
    assert list(in_order(HERE, Counting(tmp_path / "here"), range(6))) == wanted
    log = tmp_path / "log"
    fleet = nodes.fleet
    arrived: list[tuple[int, int]] = []
    for place, part in fleet.spread(Counting(log, dies_before=(1, 2)), range(6)):
        if part is not None:
            arrived.append(part)
            assert place == part[0]
        if part == (1, 1):
            log.with_suffix(".arrived").touch()
    assert sorted(arrived) == wanted
    lines = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert os.getpid() not in {pid for _, _, pid in lines}
    assert [number for share, number, _ in lines if share == 1] == [0, 1, 2, 3, 4]  # none is computed again
    assert len({pid for share, _, pid in lines if share == 1}) == 2
    assert list(in_order(fleet, Counting(log), range(6))) == wanted
    error = refused(lambda: list(in_order(fleet, Counting(log, refuses=True), range(6))))
    assert (error.code, error.message) == ("clip-unreadable", "This share is refused.")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cluster, "MAX_LOST", 1)
        error = refused(lambda: list(in_order(fleet, Counting(log, poisoned=True), range(1))))
    assert (error.code, error.exit_code) == ("share-failed", 1)
    assert capsys.readouterr().out == ""  # which is for results


def test_what_cannot_be_joined(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def joins(address: str) -> MaclipError:
        def join() -> None:
            with open_fleet(address):
                pass

        return refused(join)

    assert joins("ray://host:10001").code == "option-invalid"
    assert joins("").code == "option-invalid"
    with archive(tmp_path / "store", bundle) as opened:
        assert refused(lambda: opened.index(bundle, fleet="auto")).code == "option-invalid"  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ray", None)
    error = joins("local")
    assert (error.code, error.exit_code, error.fix) == ("fleet-missing", 3, "pip install 'maclip[fleet]'")


def test_an_archive_is_that_of_one_process_though_a_node_is_killed(
    nodes: Nodes, videos: Path, bundle: Path, enrolled: Path, clips: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(videos.parent)  # where no worker is
    videos = Path(videos.name)

    def kill(done: Progress) -> None:
        if len(nodes.workers) == 2:
            nodes.kill_one()

    with archive(tmp_path / "one", bundle) as one:
        alone = one.index(videos, window_s=1.0)
        found, events = one.find(clips / "red1.mp4"), list(one.events(enrolled))
    with archive(tmp_path / "many", bundle) as many:
        fleet = nodes.fleet
        done = many.index(videos, window_s=1.0, fleet=fleet, progress=kill)
        assert len(nodes.workers) == 1
        assert sorted(done.videos) == alone.videos
        assert done.windows == alone.windows
        assert same(view_of(tmp_path / "many"), view_of(tmp_path / "one"))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("maclip_runtime.archive.search.EXACT_ROWS", 64)
            again = many.find(clips / "red1.mp4", fleet=fleet)
        assert again.found == found.found
        assert (again.windows, again.measured, again.typical) == (found.windows, found.measured, found.typical)
        assert list(many.events(enrolled, fleet=fleet)) == events != []
        assert many.index(videos, fleet=fleet).windows == 0


def test_commands_take_the_address(nodes: Nodes, videos: Path, bundle: Path, clips: Path, tmp_path: Path) -> None:
    def run(*args: object) -> Any:
        done = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "MACLIP_RAY": nodes.address})
        assert done.exit_code == 0, done.exception
        return done

    store = ("--store", tmp_path / "store", "--bundle", bundle)
    assert "of 4 videos" in run("index", videos, *store, "--window", 1).stdout
    assert json.loads(run("find", clips / "red1.mp4", *store, "--top", 1, "--json").stdout)["rank"] == 1


def test_limits_are_those_of_one_process(
    nodes: Nodes, videos: Path, bundle: Path, enrolled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    background = ["0.mp4", "3.mp4"]
    with Recognizer.open(bundle, enrolled, device="cpu", threads=1) as recognizer:
        alone = recognizer.calibrate(background, window_s=1.0)
        assert recognizer.calibrate(background, window_s=1.0, fleet=nodes.fleet) == alone


def test_an_evaluation_is_that_of_one_process(
    nodes: Nodes, drawn_data: Path, make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from maclip.config import EvaluationConfig
    from maclip.evaluation import evaluator, features
    from maclip.evaluation.api import evaluate

    data = shutil.copytree(drawn_data, Path("data"))
    min(data.rglob("*.mp4")).write_bytes(b"")
    model = make_model(adapted_depth=1)
    asked = {"config": EvaluationConfig.of(way=3, shot=1, episodes=200), "split": "val", "max_broken": 0.5}
    alone = evaluate(model, data, **asked)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "BATCHES_A_SHARE", 1)
        patched.setattr(evaluator, "BATCHES_A_SHARE", 1)
        spread = evaluate(model, data, **asked, fleet=nodes.fleet)
    assert len(spread.left_out) == len(alone.left_out) == 1  # each names the clip's path as its process sees it
    assert replace(spread, left_out=()) == replace(alone, left_out=())


def test_a_cluster_that_goes_away_is_said_and_the_rest_is_done_later(
    nodes: Nodes, videos: Path, bundle: Path, tmp_path: Path
) -> None:
    """The last test: nothing is left of the cluster."""
    store = tmp_path / "store"
    videos = Path(shutil.copytree(videos, tmp_path / "videos"))
    for seed in range(4, 6):  # more than are ever handed out at once, so some are not begun when the cluster goes
        color_video(videos / f"{seed}.mp4", [("blue", 2.0), ("red", 2.0)], seed=seed)
    command = [sys.executable, "-c", HELD, "index", str(videos), "--store", str(store)]
    command += ["--bundle", str(bundle), "--window", "1", "--ray", nodes.address]
    nodes.leave()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as indexing:
        assert indexing.stderr is not None
        assert indexing.stdin is not None
        assert next(line for line in indexing.stderr if line.startswith("indexing "))
        nodes.kill_all()
        indexing.stdin.close()
        said = indexing.stderr.read()
    assert indexing.returncode == 3
    assert "error[fleet-lost]: The Ray cluster is gone: " in said
    with archive(tmp_path / "one", bundle) as one, archive(store, bundle) as some:
        alone = one.index(videos, window_s=1.0)
        kept = len(view_of(store))
        assert kept > 0
        assert some.index(videos).windows == alone.windows - kept
    assert same(view_of(store), view_of(tmp_path / "one"))
    error = refused(lambda: open_fleet(nodes.address).__enter__())
    assert (error.code, error.exit_code) == ("fleet-unreachable", 3)
