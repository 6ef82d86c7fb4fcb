"""The processes of a training: one, several on a machine, or several on several machines (Lightning Fabric).

Fabric starts the processes, chooses their devices and handles mixed precision. Gradients are summed here, once per
update, not by torch's DDP in each backward pass: an episode is not a single forward pass (clips, text, prototypes and
metric are separate), and this way processes may have different numbers of episodes in an update.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from maclip.config import Machine
from maclip.data.broken_clips import BrokenClips
from maclip.data.shared_memory import Room, shared_room
from maclip_runtime.errors import EXIT_MACHINE_LACKS, EXIT_OUR_FAULT, MaclipError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# How long processes wait for each other: the first one alone fills caches and validates, which may take hours. One that
# has ended is noticed at once, because its connections close.
PATIENCE = timedelta(days=2)
PARENT = "MACLIP_PARENT"  # variable with the process that started this one
WATCH_SECONDS = 0.5
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}

Out = TypeVar("Out")


class Team:
    """Communication between the processes of a training; a context manager. A failure in one process ends all.

    here: processes on this machine.

    Only the first process (`leads`) writes, prints and raises; the others exit silently.
    """

    def __init__(self, fabric: Fabric, here: int = 1) -> None:
        self.fabric, self.here = fabric, here
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self.leads = self.rank == 0
        self._failure: BaseException | None = None
        self._next_port: int | None = None
        if self.size > 1 and not _under_torchrun():
            with _communication():
                self._next_port = fabric.broadcast(_free_port())

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
            if self._next_port is not None:
                # A script may start another training: a fast process must not connect to this group again.
                os.environ["MASTER_PORT"] = str(self._next_port)

    def share(self, episodes: Iterable[int]) -> list[int]:
        """The `episodes` of this process; each belongs to exactly one process."""
        return [at for at in episodes if at % self.size == self.rank]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Defer an exception to the next `agree`, so that no process waits for one that has exited."""
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            self._failure = self._failure or error

    def agree(self, numbers: Sequence[float] = ()) -> list[float]:
        """Sums of `numbers` over all processes. Raises in all processes if an `attempt` failed in one."""
        if self.size == 1:
            return list(numbers)
        failed = float(self._failure is not None)
        sums = torch.tensor([failed, *numbers], dtype=torch.float64, device=self.fabric.device)
        with _communication():
            dist.all_reduce(sums)
        total, *rest = sums.tolist()
        if total:
            self._stop()
        return rest

    def together(self, work: Callable[[], Out], in_turn: bool = False) -> Out:
        """Run `work` in each process.

        in_turn: the first process runs before the others, which then find its files.
        """
        done: list[Out] = []
        if in_turn and not self.leads:
            self.agree()
        with self.attempt():
            done.append(work())
        if in_turn and self.leads:
            self.agree()
        self.agree()
        return done[0]

    def lead(self, work: Callable[[], Out]) -> Out:
        """Run `work` in the first process; all processes return its result."""
        done: list[Out] = []
        with self.attempt():
            if self.leads:
                done.append(work())
        self.agree()
        if self.size == 1:
            return done[0]
        with _communication():
            return self.fabric.broadcast(done[0] if done else None)  # type: ignore[return-value]

    @contextmanager
    def shared(self, folder: Path) -> Iterator[Room | None]:
        """Work and memory that the processes on this machine share; None where there is one process.

        All processes come here together. What follows may use the tensors after the block.
        folder: holds them where the system has no memory for shared files.
        """
        if self.here == 1:
            yield None
            return
        token = self.lead(lambda: uuid.uuid4().hex)
        machine, place = divmod(self.rank, self.here)
        in_memory = self.fabric.device.type == "cpu"
        with shared_room(f"{token}-{machine}", place, self.here, folder, in_memory) as room:
            yield room

    def gather(self, own: Out) -> list[Out]:
        """`own` of all processes, by rank."""
        if self.size == 1:
            return [own]
        found: list[Out | None] = [None] * self.size
        with _communication():
            dist.all_gather_object(found, own)
        return found  # type: ignore[return-value]

    def share_broken(self, broken: BrokenClips) -> None:
        """Tell all processes which clips each found broken, so that they are counted and reported together."""
        found = self.gather(dict(broken.errors))
        with self.attempt():
            broken.merge(found)
        self.agree()

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients over all processes; a parameter without a gradient in any process keeps None."""
        if self.size == 1:
            return
        wanted = list(parameters)
        parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in wanted]
        has = torch.tensor([float(p.grad is not None) for p in wanted], device=self.fabric.device)
        flat = torch.cat([*parts, has])
        with _communication():
            dist.all_reduce(flat)
        *parts, has = flat.split([*(p.numel() for p in wanted), len(wanted)])
        for parameter, part, count in zip(wanted, parts, has.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).clone() if count else None

    def known(self, error: BaseException) -> BaseException:
        """The exception for an `error` that all processes have: itself in the first, `SystemExit(0)` in the others."""
        return error if self.leads else SystemExit(0)

    def _stop(self) -> None:
        """Raise the failure of one process in the first process; exit the others."""
        own = self._failure
        errors: list[BaseException | None] = [None] * self.size
        with _communication():
            dist.all_gather_object(errors, _portable(own, self.rank))
        raise self.known(own or next(error for error in errors if error is not None))


def start_team(machine: Machine, precision: str = "32") -> Team:
    """Start the processes that `machine` asks for, or join those that `torchrun` started.

    Call it first: Fabric starts the other processes with the command line of this one.
    Raises `device-missing`, `training-missing` and `option-invalid`.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise MaclipError(
            "training-missing",
            "Training needs lightning-fabric, which is not installed.",
            "pip install 'maclip[train]'",
            EXIT_MACHINE_LACKS,
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    devices, nodes = machine.devices, machine.nodes
    if _under_torchrun():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    kind = pick_device(machine.device)
    _refuse_too_many(kind, devices)
    if precision == "fp16" and kind == "cpu":
        raise MaclipError("option-invalid", "fp16 needs a CUDA device.", "Use --precision bf16 or 32.")
    several = devices * nodes > 1
    if several and not _under_torchrun():
        _end_with_parent()
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return Team(fabric, devices)


def _refuse_too_many(kind: str, devices: int) -> None:
    """Raise `device-missing` for more processes than the machine has GPUs, or cores where it trains on the CPU."""
    there, what = (torch.cuda.device_count(), "CUDA devices") if kind == "cuda" else (os.cpu_count() or 1, "cores")
    if devices > there and not _under_torchrun():
        raise MaclipError(
            "device-missing",
            f"This machine has {there} {what}, not {devices}.",
            "Lower --devices: each process needs one.",
            EXIT_MACHINE_LACKS,
        )


def _end_with_parent() -> None:
    """Let processes that this one starts end with it, however it ends; if it was started so itself, watch its parent.

    A killed process cannot end its children, so they look whether it is still there.
    """
    own = str(os.getpid())
    parent = os.environ.get(PARENT, own)
    os.environ[PARENT] = own
    if parent == own or os.environ.get("LOCAL_RANK", "0") == "0":
        return  # it is the first, or watches already

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(WATCH_SECONDS)
        os._exit(1)  # other threads may wait for the others for ever

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def pick_device(device: str) -> str:
    """Resolve "auto" to "cuda" or "cpu". Raises `device-missing` for "cuda" without a CUDA device."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MaclipError(
            "device-missing",
            "This machine has no CUDA device that torch can use.",
            "Use --device cpu.",
            EXIT_MACHINE_LACKS,
        )
    return device


def _portable(error: BaseException | None, rank: int) -> BaseException | None:
    """`error` as an exception that can be sent to another process; prints the traceback of an internal error here."""
    if error is None or isinstance(error, (MaclipError, KeyboardInterrupt)):
        return error
    if rank:
        traceback.print_exception(error)
    return MaclipError(
        "process-failed",
        f"Process {rank} failed: {type(error).__name__}: {error}.",
        "The last checkpoint is kept. The traceback is above.",
        EXIT_OUR_FAULT,
    )


@contextmanager
def _communication() -> Iterator[None]:
    """Raise `process-died` if communication fails, which means that another process has exited."""
    try:
        yield
    except RuntimeError as error:
        raise MaclipError(
            "process-died",
            "Another process of this training has exited.",
            "See its last output. The last checkpoint is kept: maclip train --resume RUN.",
            EXIT_OUR_FAULT,
        ) from error
