"""The processes of one training: one alone, several on a machine, or those of several machines (Lightning Fabric).

Fabric starts the processes, picks their devices and cares for mixed precision. Gradients are added up here, once an
update, and not by torch's DDP inside each backward pass: an episode is no single forward pass (clips, text, prototypes
and metric are parts of their own), and so processes may have unlike numbers of episodes in an update.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from maclip.config import Machine
from maclip_runtime.errors import EXIT_MACHINE_LACKS, EXIT_OUR_FAULT, MaclipError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}

Out = TypeVar("Out")


class Team:
    """What the processes of a training do together; a context manager. A failure in one of them ends all.

    The first process (`leads`) alone writes, prints and raises; the others then leave in silence.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self.leads = self.rank == 0
        self._failure: BaseException | None = None
        self._next_port: int | None = None
        if self.size > 1 and not _under_torchrun():
            with _talking():
                self._next_port = fabric.broadcast(_free_port())

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
            if self._next_port is not None:
                # Who is early at a script's next training must not meet the first process on its way out of this.
                os.environ["MASTER_PORT"] = str(self._next_port)

    def share(self, episodes: Iterable[int]) -> list[int]:
        """Which of `episodes` are this process's: each is exactly one's."""
        return [at for at in episodes if at % self.size == self.rank]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What fails within is kept until the next `agree`, so that no process waits for one that has gone."""
        try:
            yield
        except BaseException as error:
            if self.size == 1:
                raise
            self._failure = self._failure or error

    def agree(self, numbers: Sequence[float] = ()) -> list[float]:
        """The sum of each of `numbers` over the processes. Raises in all where an `attempt` failed in one."""
        if self.size == 1:
            return list(numbers)
        failed = float(self._failure is not None)
        sums = torch.tensor([failed, *numbers], dtype=torch.float64, device=self.fabric.device)
        with _talking():
            dist.all_reduce(sums)
        total, *rest = sums.tolist()
        if total:
            self._stop()
        return rest

    def together(self, work: Callable[[], Out], in_turn: bool = False) -> Out:
        """Each process does `work`; `in_turn`: the first before the others, who then find what it left on disk."""
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
        """The first process does `work`; all have what it returns."""
        done: list[Out] = []
        with self.attempt():
            if self.leads:
                done.append(work())
        self.agree()
        if self.size == 1:
            return done[0]
        with _talking():
            return self.fabric.broadcast(done[0] if done else None)  # type: ignore[return-value]

    def gather(self, own: Out) -> list[Out]:
        """What each process has, in their order."""
        if self.size == 1:
            return [own]
        found: list[Out | None] = [None] * self.size
        with _talking():
            dist.all_gather_object(found, own)
        return found  # type: ignore[return-value]

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every process's gradients become the sum of all; where no process has one there stays none."""
        if self.size == 1:
            return
        wanted = list(parameters)
        parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in wanted]
        has = torch.tensor([float(p.grad is not None) for p in wanted], device=self.fabric.device)
        flat = torch.cat([*parts, has])
        with _talking():
            dist.all_reduce(flat)
        *parts, has = flat.split([*(p.numel() for p in wanted), len(wanted)])
        for parameter, part, count in zip(wanted, parts, has.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).clone() if count else None

    def known(self, error: BaseException) -> BaseException:
        """What to raise where all processes come to the same `error`: itself in the first, a silent end in others."""
        return error if self.leads else SystemExit(0)

    def _stop(self) -> None:
        """All know that one failed: the first raises that, the others leave."""
        own = self._failure
        said: list[BaseException | None] = [None] * self.size
        with _talking():
            dist.all_gather_object(said, _told(own, self.rank))
        raise self.known(own or next(error for error in said if error is not None))


def start_team(machine: Machine, precision: str = "32") -> Team:
    """Start what `machine` asks for, or join the processes that `torchrun` started. Call it first: Fabric starts the
    other processes with this one's command line. Raises `device-missing`, `training-missing` and `option-invalid`.
    """
    try:
        from lightning_fabric import Fabric
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
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise MaclipError(
            "device-missing",
            f"This machine has {torch.cuda.device_count()} CUDA devices, not {devices}.",
            "Lower --devices.",
            EXIT_MACHINE_LACKS,
        )
    if precision == "fp16" and kind == "cpu":
        raise MaclipError("option-invalid", "fp16 is for CUDA devices.", "Use --precision bf16, or 32.")
    several = devices * nodes > 1
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if several else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return Team(fabric)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def pick_device(device: str) -> str:
    """`cuda` or `cpu` for "auto"; raises `device-missing` for a device that was asked for and is not there."""
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


def _told(error: BaseException | None, rank: int) -> BaseException | None:
    """`error` in a form that another process can raise; a fault of ours shows its place here, where it is known."""
    if error is None or isinstance(error, (MaclipError, KeyboardInterrupt)):
        return error
    if rank:
        traceback.print_exception(error)
    return MaclipError(
        "process-failed",
        f"Process {rank} failed: {type(error).__name__}: {error}.",
        "The last state is kept; its traceback is above.",
        EXIT_OUR_FAULT,
    )


@contextmanager
def _talking() -> Iterator[None]:
    """Processes exchange something: that fails only where one has gone."""
    try:
        yield
    except RuntimeError as error:
        raise MaclipError(
            "process-died",
            "Another process of this training is gone.",
            "See what it said last; the last state is kept: maclip train --resume RUN.",
            EXIT_OUR_FAULT,
        ) from error
