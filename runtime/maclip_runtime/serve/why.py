"""Why a window got its answer: the nearest enrolled clips, frame by frame, and what would change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maclip_runtime.decisions import match_of
from maclip_runtime.matching.distances import match_all
from maclip_runtime.matching.index import Index, class_prototypes
from maclip_runtime.reading.frames import Floats
from maclip_runtime.recognizer import Recognizer
from maclip_runtime.serve.board import answer_facts
from maclip_runtime.serve.windows import OPEN, Seen

MAX_CLASSES = 3  # whose clips are compared
MAX_CLIPS = 200  # of them
SHOWN_CLIPS = 4
ORDERED = ("otam",)  # metrics that align frames in their order


def explain(recognizer: Recognizer, seen: Seen, others: Sequence[Seen]) -> dict[str, Any]:
    """What the page shows of a window; `others`: windows that teaching it might settle too.

    Raises `gallery-empty`.
    """
    index = recognizer.index.ready()
    encoder = recognizer.encoder
    match = match_all(encoder, seen.features[None], index.prototypes, index.text, index.has_text)
    distances, scores = match.distances[0], match.probabilities[0]
    order = np.argsort(distances, kind="stable")
    return {
        "id": seen.id,
        "source": seen.source,
        "at": seen.at,
        "duration_s": round(seen.end_s - seen.start_s, 3),
        "first": answer_facts(seen.verdict),
        "now": answer_facts(seen.answer),
        "metric": encoder.bundle.manifest.metric,
        "min_margin": recognizer.decisions.min_margin,
        "min_score": recognizer.decisions.min_score,
        "classes": [_class(index, int(row), distances, scores) for row in order[:6]],
        "clips": _clips(recognizer, index, seen.features, order[:MAX_CLASSES].tolist()),
        "teaching": [_taught(recognizer, index, seen, others, int(row)) for row in order[:2]],
    }


def _class(index: Index, row: int, distances: Floats, scores: Floats) -> dict[str, Any]:
    limit, distance = float(index.limits[row]), float(distances[row])
    return {
        "name": index.names[row],
        "distance": round(distance, 4),
        "limit": None if np.isinf(limit) else round(limit, 4),
        "match": round(match_of(distance, limit), 4),
        "score": round(float(scores[row]), 4),
        "clips": len(index.groups[index.names[row]]),
    }


def _clips(recognizer: Recognizer, index: Index, features: Floats, rows: Sequence[int]) -> list[dict[str, Any]]:
    """The enrolled clips that are nearest to the window, with the path of frames that belong together."""
    members = [member for row in rows for member in index.groups[index.names[row]]][:MAX_CLIPS]
    prototypes = class_prototypes(recognizer.gallery, recognizer.encoder, members)
    members = [member for member in members if member.id in prototypes]
    if not members:
        return []
    stacked = np.stack([prototypes[member.id] for member in members])
    none = np.zeros((len(members), stacked.shape[-1]), np.float32), np.zeros(len(members), np.bool_)
    distances = match_all(recognizer.encoder, features[None], stacked, *none).distances[0]
    found = []
    for place in np.argsort(distances, kind="stable")[:SHOWN_CLIPS]:
        apart = frame_distances(features, stacked[place])
        found.append(
            {
                "id": members[place].id,
                "class_name": members[place].class_name,
                "distance": round(float(distances[place]), 4),
                "path": path_of(apart, recognizer.bundle.manifest.metric),
                "apart": np.round(apart, 3).tolist(),
            }
        )
    return found


def _taught(recognizer: Recognizer, index: Index, seen: Seen, others: Sequence[Seen], row: int) -> dict[str, Any]:
    """What teaching the window to a class would do to other windows that wait: with the class's present limit."""
    name, count = index.names[row], len(index.groups[index.names[row]])
    made = recognizer.encoder.prototypes(seen.features[None])[0]
    prototypes = index.prototypes.copy()
    prototypes[row] = (prototypes[row] * count + made) / (count + 1)
    waiting = [one for one in others if one.state == OPEN and one.id != seen.id][:64]
    settled = 0
    if waiting:
        features = np.stack([one.features for one in waiting])
        before = match_all(recognizer.encoder, features, index.prototypes, index.text, index.has_text).distances
        after = match_all(recognizer.encoder, features, prototypes, index.text, index.has_text).distances
        now = (after.argmin(axis=1) == row) & (after[:, row] <= index.limits[row])
        earlier = (before.argmin(axis=1) == row) & (before[:, row] <= index.limits[row])
        settled = int((now & ~earlier).sum())
    return {"name": name, "settles": settled, "waiting": len(waiting)}


def frame_distances(query: Floats, support: Floats) -> Floats:
    """1 - cosine of each pair of frames: [T, D'] and [T, D'] -> [T, T]."""
    one = query / np.maximum(np.linalg.norm(query, axis=-1, keepdims=True), 1e-9)
    other = support / np.maximum(np.linalg.norm(support, axis=-1, keepdims=True), 1e-9)
    apart: Floats = (1 - one @ other.T).astype(np.float32)
    return apart


def path_of(apart: Floats, metric: str) -> list[tuple[int, int]]:
    """Which frames belong together, (query frame, support frame), of the distances [T, T] between them.

    For OTAM the cheapest path of one direction (docs/method.md, section 4): each support frame gets a query frame, in
    their order, and the query's ends are free. For other metrics the nearest support frame of each query frame.
    """
    if metric not in ORDERED:
        return [(row, int(apart[row].argmin())) for row in range(len(apart))]
    rows, columns = apart.shape
    sums, back = apart[:, 0].astype(np.float64), np.zeros((columns, rows), np.int64)
    for column in range(1, columns):
        stepped = np.concatenate([[np.inf], sums[:-1]])
        back[column] = np.where(stepped < sums, np.arange(rows) - 1, np.arange(rows))
        sums = np.minimum(stepped, sums) + apart[:, column]
    row, path = int(sums.argmin()), []
    for column in range(columns - 1, -1, -1):
        path.append((row, column))
        row = int(back[column, row])
    return path[::-1]
