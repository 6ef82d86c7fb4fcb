"""A runner in its child process: loaded, warmed up, its memory measured, then timed turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maclip_export.bench.plan import BATCH, CLIP, Inputs, ModelSource, RunnerSpec
from maclip_export.bench.runners import Array, Runner, TorchRunner, open_runner
from maclip_runtime.errors import MaclipError
from maclip_runtime.tools.measuring.memory import peak_resident_mib, resident_mib
from maclip_runtime.tools.measuring.turns import seconds_of

WARM_UPS = 2


@dataclass(frozen=True)
class ModelFacts:
    """What only torch knows of a model: `flops` of one clip, rows and width of its matrix products; is there a GPU."""

    flops: int
    rows: int
    width: int
    cuda: bool


@dataclass(frozen=True)
class RunnerFacts:
    """A runner that is ready. `features` of the first clip [T, D'], MiB of memory it grew by; `model` of eager torch.

    `memory_mib` is the highest resident memory of the runner's process while it loaded and ran single clips, less
    what was resident before it read the model. Torch's hold the text encoder too.
    """

    works: tuple[str, ...]
    features: Array
    memory_mib: float | None
    model: ModelFacts | None


class TimedRunner:
    """Seconds that one work of a runner takes, each time it is asked.

    `contracts` are those of bundles, by name, that torch's model must have: raises `contract-mismatch`.
    """

    def __init__(
        self,
        spec: RunnerSpec,
        source: ModelSource,
        inputs: Inputs,
        threads: int,
        contracts: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._runner = open_runner(spec, source, inputs, threads)
        before = resident_mib()
        self._runner.load()
        if isinstance(self._runner, TorchRunner):
            _require_same_model(self._runner, contracts)  # before it is fed what another model takes
        works = self._runner.works
        for work in works:
            if work != BATCH:
                self._warm(work)
        peak = peak_resident_mib()
        memory = peak - before if peak is not None and before is not None else None
        self._warm(BATCH)
        features = np.asarray(self._runner.run(CLIP)[0], dtype=np.float32)
        self.facts = RunnerFacts(works, features, memory, self._of_model(spec, self._runner))

    def turn(self, work: str) -> float:
        """Seconds of one `work`."""
        return seconds_of(lambda: self._runner.run(work))

    def _warm(self, work: str) -> None:
        for _ in range(WARM_UPS):
            self._runner.run(work)

    def _of_model(self, spec: RunnerSpec, runner: Runner) -> ModelFacts | None:
        if not (isinstance(runner, TorchRunner) and spec.is_reference and spec.device == "cpu"):
            return None
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        image = runner.model.image
        # As plain products: torch 2.9 does not count those within its attention for CPUs.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            runner.run(CLIP)
        return ModelFacts(
            flops=int(counter.get_total_flops()),
            rows=image.rows * runner.inputs.frames,
            width=image.width,
            cuda=torch.cuda.is_available(),
        )


def _require_same_model(runner: TorchRunner, contracts: Sequence[tuple[str, str]]) -> None:
    if not contracts:
        return
    from maclip_export.bundle.writer import contract_of

    own = contract_of(runner.model)
    for name, contract in contracts:
        if contract != own:
            raise MaclipError(
                "contract-mismatch",
                f"The bundle {name} is of another model: its features cannot be compared with those of this one.",
                "Give the run that the bundle was exported from, or the --backbone and --pretrained of its export.",
            )
