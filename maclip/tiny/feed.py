"""Freshly drawn, captioned frames for pre-training, from worker processes that never import torch."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from maclip.world.captions import RELATION, caption
from maclip.world.scenes import FACT_INDEX, FACTS, random_scene, render_scene

CHUNK = 256  # frames that a worker sends at once
CAPTIONS = 4  # captions drawn for each frame
GRID = 8  # patches along a side
CLAIM_INDEX = {**FACT_INDEX, RELATION: len(FACTS)}


@dataclass(frozen=True)
class Chunk:
    """CHUNK frames, their captions, and the facts that are true of them."""

    frames: npt.NDArray[np.uint8]  # [F, 64, 64, 3]
    tokens: npt.NDArray[np.int16]  # [F, CAPTIONS, L]
    claims: npt.NDArray[np.uint8]  # [F, CAPTIONS, len(FACTS) + 1], 0 or 1
    facts: npt.NDArray[np.uint8]  # [F, len(FACTS)], 255 = true
    patches: npt.NDArray[np.uint8]  # [F, 64, 2]: kind and colour at each patch's centre, 0 = none


@dataclass(frozen=True)
class WordTokens:
    """Tokenises captions by look-up: each of their words is one token (`maclip.tiny.vocabulary`)."""

    ids: dict[str, int]
    start: int
    end: int
    length: int

    def encode(self, text: str) -> npt.NDArray[np.int16]:
        """Tokens int16 [length]: start, one for each word, end, zeros."""
        row = np.zeros(self.length, np.int16)
        ids = [self.start, *(self.ids[word] for word in text.split()), self.end]
        row[: len(ids)] = ids
        return row


def make_chunk(words: WordTokens, rng: np.random.Generator, positions: bool, count: int = CHUNK) -> Chunk:
    """Draw and caption `count` random scenes."""
    frames = np.empty((count, 64, 64, 3), np.uint8)
    tokens = np.empty((count, CAPTIONS, words.length), np.int16)
    claims = np.zeros((count, CAPTIONS, len(FACTS) + 1), np.uint8)
    facts = np.empty((count, len(FACTS)), np.uint8)
    patches = np.empty((count, GRID * GRID, 2), np.uint8)
    for index in range(count):
        scene = random_scene(rng)
        frames[index] = render_scene(scene, rng)
        facts[index] = scene.facts()
        patches[index] = scene.patches(GRID)
        for which in range(CAPTIONS):
            said = caption(scene, rng, positions)
            tokens[index, which] = words.encode(said.text)
            claims[index, which, [CLAIM_INDEX[name] for name in said.claims]] = 1
    return Chunk(frames, tokens, claims, facts, patches)


def _work(words: WordTokens, seed: tuple[int, int], positions: bool, out: multiprocessing.Queue[Chunk]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = np.random.default_rng(seed)
    while True:
        out.put(make_chunk(words, rng, positions))


class Feed:
    """Worker processes that draw without end; `take` returns a chunk that is ready."""

    def __init__(self, words: WordTokens, workers: int, seed: int, positions: bool) -> None:
        # Forked, because a spawned worker would import the training program and torch. So start before using a GPU.
        context = multiprocessing.get_context("fork")
        # One queue for every four workers: a single queue is too slow for sixteen.
        self._queues = [context.Queue(maxsize=8) for _ in range((workers + 3) // 4)]
        self._processes = [
            context.Process(target=_work, args=(words, (seed, index), positions, self._queues[index // 4]), daemon=True)
            for index in range(workers)
        ]
        self._ready: queue.Queue[Chunk] = queue.Queue(maxsize=16)
        self._closed = threading.Event()

    def __enter__(self) -> Feed:
        for process in self._processes:
            process.start()
        for pipe in self._queues:
            threading.Thread(target=self._pump, args=(pipe,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        for process in self._processes:
            process.terminate()

    def _pump(self, pipe: multiprocessing.Queue[Chunk]) -> None:
        while not self._closed.is_set():
            try:
                chunk = pipe.get(timeout=1)
            except queue.Empty:
                continue
            except (EOFError, OSError):
                return
            while not self._closed.is_set():
                try:
                    self._ready.put(chunk, timeout=1)
                    break
                except queue.Full:
                    continue

    def take(self, wait: bool) -> Chunk | None:
        """The next chunk; None if none is ready and `wait` is False."""
        while True:
            try:
                return self._ready.get(timeout=1) if wait else self._ready.get_nowait()
            except queue.Empty:
                if not wait:
                    return None
                if not any(process.is_alive() for process in self._processes):
                    raise RuntimeError("Every drawing process has died; see its error above.") from None
