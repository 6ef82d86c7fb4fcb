"""Few-shot accuracy of exported graphs and of torch, on the same episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from maclip.data.episodes import EpisodeSampler
from maclip.evaluation.evaluator import mean_interval
from maclip.model.losses import fuse, text_logits
from maclip.model.maclip import MaClip
from maclip_export.gate.trial import TrialClips
from maclip_export.onnx.sessions import open_session
from maclip_runtime.bundle.figures import GateAccuracy
from maclip_runtime.engines.encoder import UNIT, unit_rows

WAY, SHOT, EPISODES, SEED = 5, 1, 1000, 0
LOSS_LIMIT = 0.01  # of accuracy, 0..1; for the upper end of the interval of the loss
CLIPS_AT_ONCE = 4

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Encoded:
    """The clips as torch or the graphs encode them: support prototypes and query features, both [n, T, D']."""

    prototypes: Floats
    queries: Floats


class AccuracyCheck:
    """Compares the graphs in a folder with `model` on the clips of `trial`.

    Episodes are 5-way, or of all classes if there are fewer. A class needs two clips.
    """

    def __init__(self, model: MaClip, trial: TrialClips) -> None:
        self._model, self._trial = model, trial
        self._text = model.encode_names(trial.names)
        classes = sum(size > SHOT for size in trial.sizes())
        self._way = min(WAY, classes)
        self._expected: Floats | None = None

    def run(self, files: dict[str, Path], progress: Progress | None = None) -> GateAccuracy | None:
        """Answer the same episodes with torch and with the graphs; None with fewer than two classes of two clips.

        files: the graphs' files. Torch answers once, in the first run.
        """
        if self._way < 2:
            return None
        sampler = EpisodeSampler(self._trial.sizes(), self._way, SHOT, 1, SEED)
        runner = _Runner(files)
        if self._expected is None:
            self._expected = self._torch_answers(sampler, progress)
        expected = self._expected
        ours = self._by_graphs(runner, progress)
        found = np.empty_like(expected)
        for number in range(EPISODES):
            episode = sampler[number]
            text = self._text[torch.from_numpy(episode.classes)].numpy()
            found[number] = runner.match(ours.queries[episode.query], ours.prototypes[episode.support], text)
        right = torch.from_numpy(np.stack([expected, found]).argmax(-1) == np.arange(self._way))  # (2, episodes, way)
        loss, interval = mean_interval(right[0].double() - right[1].double())
        return GateAccuracy(
            torch=float(right[0].double().mean()),
            bundle=float(right[1].double().mean()),
            loss=loss,
            interval=interval,
            limit=LOSS_LIMIT,
            probability=float(np.abs(expected - found).max()),
            way=self._way,
            shot=SHOT,
            episodes=EPISODES,
            measured_on=self._trial.source,
        )

    @torch.no_grad()
    def _torch_answers(self, sampler: EpisodeSampler, progress: Progress | None) -> Floats:
        """Probabilities [episodes, way, way] as in `MaClip.match`; all clips are matched with all at once."""
        model, encoded = self._model, self._by_torch(progress)
        queries = torch.from_numpy(encoded.queries)
        made = model.prototypes(queries)
        distances = model.metric(made, torch.from_numpy(encoded.prototypes))  # (clips, clips)
        if model.cohort is not None:
            distances = distances + model.cohort.shift(model.metric, made)[:, None]
        scores = text_logits(queries, self._text, model.scale)  # (clips, classes)
        episodes = [sampler[number] for number in range(EPISODES)]
        query = torch.from_numpy(np.stack([e.query for e in episodes]))[:, :, None]
        support = torch.from_numpy(np.stack([e.support for e in episodes]))[:, None]
        classes = torch.from_numpy(np.stack([e.classes for e in episodes]))[:, None]
        answers = fuse(
            scores[query, classes],
            distances[query, support],
            None,
            model.config.text.fusion_weight,
            model.none_distance,
        )
        found: Floats = answers.numpy()
        return found

    def _by_torch(self, progress: Progress | None) -> _Encoded:
        prototypes, queries = [], []
        for rows in self._batches():
            tokens = self._model.stem(self._trial.frames[rows].flatten(0, 1)).unflatten(0, (len(rows), -1))
            own = self._text[self._trial.labels[rows]]
            prototypes.append(self._model.prototypes(self._model.tower(tokens, own), own))
            queries.append(self._model.tower(tokens))
            if progress:
                progress(int(rows[-1]) + 1, 2 * len(self._trial.frames))
        return _Encoded(torch.cat(prototypes).numpy(), torch.cat(queries).numpy())

    def _by_graphs(self, runner: _Runner, progress: Progress | None) -> _Encoded:
        prototypes, queries = [], []
        for rows in self._batches():
            frames = self._trial.frames[rows].numpy()
            own = self._text[self._trial.labels[rows]].numpy()
            yes, no = np.ones(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
            support, query = runner.features(frames, own, yes, no)
            prototypes.append(runner.run("prototype", features=support, text=own, has_text=yes))
            queries.append(query)
            if progress:
                progress(len(self._trial.frames) + int(rows[-1]) + 1, 2 * len(self._trial.frames))
        return _Encoded(np.concatenate(prototypes), np.concatenate(queries))

    def _batches(self) -> tuple[torch.Tensor, ...]:
        return torch.arange(len(self._trial.frames)).split(CLIPS_AT_ONCE)


class _Runner:
    """Graphs on the CPU."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._sessions = {name: open_session(file) for name, file in files.items() if name != "text"}
        self._takes_unit = any(tensor.name.startswith(UNIT) for tensor in self._sessions["match"].get_inputs())

    def run(self, graph: str, **inputs: npt.NDArray[np.generic]) -> Floats:
        """The last output of a graph."""
        found: Floats = self._sessions[graph].run(None, inputs)[-1]
        return found

    def features(self, frames: npt.NDArray[np.uint8], text: Floats, yes: Flags, no: Flags) -> tuple[Floats, Floats]:
        """Support features (with text) and query features of clips uint8 [B, T, H, W, 3]."""
        if "visual" in self._sessions:
            graph, given = "visual", {"frames": frames}
        else:
            tokens = self.run("stem", frames=frames.reshape(-1, *frames.shape[2:]))
            graph, given = "tower", {"tokens": tokens.reshape(*frames.shape[:2], *tokens.shape[1:])}  # type: ignore[dict-item]
        return (
            self.run(graph, **given, text=text, has_text=yes),
            self.run(graph, **given, text=np.zeros_like(text), has_text=no),
        )

    def match(self, queries: Floats, prototypes: Floats, text: Floats) -> Floats:
        """Probabilities [B, C]."""
        classes = {"prototypes": prototypes, "text": text}
        if self._takes_unit:
            classes = {f"{UNIT}{name}": unit_rows(rows) for name, rows in classes.items()}
        return self.run("match", features=queries, **classes, has_text=np.ones(len(prototypes), np.bool_))
