"""Two machines, each a network namespace with an address of its own, train together what they train undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HOST = Path(__file__).with_name("host_child.py")
ADDRESSES = ("10.213.0.1", "10.213.0.2")
SHORT = {"episodes": 8, "prototype_episodes": 4, "accumulate": 2, "validations": 2}

pytestmark = pytest.mark.long


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` (iproute2) on this machine")
    if os.geteuid():
        pytest.skip("network namespaces need root")
    names = (f"maclip-{os.getpid()}-a", f"maclip-{os.getpid()}-b")
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        cable = [f"mc{os.getpid()}{end}" for end in "ab"]
        ip("link", "add", cable[0], "netns", names[0], "type", "veth", "peer", "name", cable[1], "netns", names[1])
        for name, end, address in zip(names, cable, ADDRESSES, strict=True):
            ip("-n", name, "link", "set", end, "name", "eth0")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def on_both(machines: tuple[str, str], port: int, data: Path, run: Path, dies_at: int = -1) -> list[tuple[int, str]]:
    """Train on both machines with torchrun; how each ended, and what it said. The second one dies at `dies_at`."""
    started = []
    for rank, name in enumerate(machines):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank)]
        launch += ["--nproc-per-node", "1", "--master-addr", ADDRESSES[0], "--master-port", str(port)]
        what = [str(HOST), str(data), str(run), json.dumps(SHORT), str(dies_at if rank else -1)]
        path = os.pathsep.join(sys.path)
        # The processes of a machine are a group, whose number its shell tells them.
        command = ["sh", "-c", 'MACHINE=$$ exec "$@"', "sh", "ip", "netns", "exec", name, *launch, *what]
        env = {**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "eth0", "PYTHONWARNINGS": "ignore"}
        started.append(
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
            )
        )
    ended = []
    try:
        for process in started:
            said, _ = process.communicate(timeout=150)
            ended.append((process.returncode, said))
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    return ended


def test_a_training_on_two_machines_of_which_one_dies_ends_as_if_it_had_not(machines, drawn_data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for code, said in on_both(machines, 29500, drawn_data, whole):
        assert code == 0, said
    (first, said), (second, _) = on_both(machines, 29501, drawn_data, killed, dies_at=5)
    assert second == -signal.SIGKILL
    assert first == 1
    assert "error[process-died]" in said
    for code, said in on_both(machines, 29502, drawn_data, killed):
        assert code == 0, said
    for name in ("adapters.safetensors", "state/last.safetensors"):
        undisturbed, resumed = load_file(whole / name), load_file(killed / name)
        assert undisturbed.keys() == resumed.keys()
        for key, value in undisturbed.items():
            assert torch.equal(resumed[key], value), key
    assert (killed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
