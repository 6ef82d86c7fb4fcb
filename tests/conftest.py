"""Fixtures for everything that runs on a device: a tiny bundle without any training, and drawn videos."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from made_once import Once, common_root, once_in
from tiny_bundle import write_bundle
from videos import color_video

from maclip_runtime import Recognizer

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """A shell's `make test &` ignores Ctrl-C, and every process a test starts would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit it
        os.environ["MACLIP_CACHE"] = tempfile.mkdtemp(prefix="maclip-tests-")  # not the user's, and what it holds
        os.environ["MACLIP_CONFIG"] = "none"  # nor the user's settings


def pytest_unconfigure() -> None:
    """Leave no cache behind."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["MACLIP_CACHE"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Modules and collected tests stay: walking them in each garbage collection took a good part of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first, so that the others run beside them.

    Each process of pytest-xdist begins with an equal part of the list, so each part begins with some of the long
    tests. Those of one file stay together: they share fixtures.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    files = [list(group) for _, group in itertools.groupby(long, key=lambda item: item.path)]
    others = iter([item for item in items if not item.get_closest_marker("long")])
    ordered: list[pytest.Item] = []
    for process in range(processes):
        part = (len(items) - len(ordered)) // (processes - process)
        first = [item for file in files[process::processes] for item in file]
        ordered += [*first, *itertools.islice(others, max(0, part - len(first)))]
    items[:] = ordered


@pytest.fixture(autouse=True)
def _ctrl_c() -> None:
    """Servers and browsers leave their own handler of Ctrl-C, which ends the process of the tests."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _traced_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Equal graphs are traced once in a run of the tests (`traces`), where the exporter is installed."""
    if importlib.util.find_spec("onnxscript") is None or importlib.util.find_spec("torch") is None:
        return
    import traces

    import maclip_export.onnx.writer as writer

    folder = common_root(tmp_path_factory) / "traces"
    folder.mkdir(exist_ok=True)
    writer.traced = traces.kept(writer.traced, folder)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: a folder that `make` has filled, for all processes of this test run."""
    return once_in(common_root(tmp_path_factory))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose features are the colours of a frame's quarters. Do not change it: copy it."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red1.mp4 to red3.mp4, green1, green2, blue1: one second each, ten frames a second."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(["red1", "red2", "red3", "green1", "green2", "blue1"]):
        color_video(folder / f"{name}.mp4", [(name[:-1], 1.0)], seed=seed)
    return folder


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Where a gallery may be made."""
    return tmp_path / "gallery.db"


@pytest.fixture
def enrolled(bundle: Path, clips: Path, gallery: Path) -> Path:
    """A gallery with "red light" (two clips) and "green light" (two clips)."""
    with Recognizer.open(bundle, gallery) as recognizer:
        recognizer.enroll("red light", [clips / "red1.mp4", clips / "red2.mp4"])
        recognizer.enroll("green light", [clips / "green1.mp4", clips / "green2.mp4"])
    return gallery


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real clips beside the checkout; the test skips where there are none."""
    if not SHARED.is_dir():
        pytest.skip("no shared/data beside the checkout")
    return SHARED
