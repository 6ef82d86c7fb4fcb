"""A limit for each class: its own clips by leave-one-out, against clips and windows that show none of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import ClassLimit, Gallery, clips_key
from maclip_runtime.gallery.inserting import now
from maclip_runtime.gallery.rows import Member
from maclip_runtime.limits.intervals import Interval, count_interval, share_interval
from maclip_runtime.limits.measured import best_limit, graphs_key, halfway
from maclip_runtime.matching.distances import left_out, match_all, sound, spread
from maclip_runtime.matching.index import Index, class_prototypes
from maclip_runtime.reading.frames import Floats, Indices

MAX_OWN = 100  # clips of a class that are left out one by one
MAX_STRANGERS = 500  # clips of other classes that stand for strangers if there is no background
SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Background:
    """W windows of background, cut and encoded as recognition does it.

    Attributes:
        features: query features, float32 [W, T, D'].
        stretch: int64 [W], which stretch of video each window is from; its windows follow each other.
        seconds: how much video the windows stand for.
        source: its name, without credentials.
        reach: windows of a stretch up to so many places apart share frames, so alarms in them count once.
    """

    features: Floats
    stretch: Indices
    seconds: float
    source: str
    reach: int = 1

    @property
    def hours(self) -> float:
        """`seconds` in hours."""
        return self.seconds / SECONDS_AN_HOUR


@dataclass(frozen=True)
class ClassCalibration:
    """One class's limit, and its errors on the samples it was chosen on; on others expect a few more.

    Attributes:
        name: the class.
        limit: the distance above which its answer is "unknown".
        own: distances of the class's clips, each left out in turn.
        misses: how many of `own` lie above the limit.
        strangers: distances of clips and windows of no class whose likeliest class is this one.
        accepted: how many of `strangers` lie within the limit.
        alarms: false alarms in the background (windows that share frames count once), None without background.
        hours: how much background was seen.
    """

    name: str
    limit: float
    own: tuple[float, ...]
    misses: int
    strangers: tuple[float, ...]
    accepted: int
    alarms: int | None
    hours: float

    @property
    def miss_interval(self) -> Interval | None:
        """95 % interval of the share of clips that are missed; None for a class of one clip."""
        return share_interval(self.misses, len(self.own))

    @property
    def accepted_interval(self) -> Interval | None:
        """95 % interval of the share of strangers that is taken for the class."""
        return share_interval(self.accepted, len(self.strangers))

    @property
    def alarms_an_hour(self) -> float | None:
        """False alarms an hour of background, counted in windows; None without background."""
        return None if self.alarms is None or not self.hours else self.alarms / self.hours

    @property
    def alarms_an_hour_interval(self) -> Interval | None:
        """Its 95 % interval."""
        if self.alarms is None or not self.hours:
            return None
        low, high = count_interval(self.alarms)
        return low / self.hours, high / self.hours

    def facts(self) -> dict[str, Any]:
        """The figures without the samples, for the gallery and --json."""
        return {
            "clips": len(self.own),
            "misses": self.misses,
            "miss_interval": self.miss_interval,
            "strangers": len(self.strangers),
            "accepted": self.accepted,
            "accepted_interval": self.accepted_interval,
            "false_alarms_an_hour": self.alarms_an_hour,
            "false_alarms_an_hour_interval": self.alarms_an_hour_interval,
            "hours": self.hours,
        }


@dataclass(frozen=True)
class Calibration:
    """The limits of a gallery's classes. `measured_on`: against what, in words; `hours` of background were seen."""

    classes: tuple[ClassCalibration, ...]
    measured_on: str
    hours: float

    @property
    def alarms_an_hour(self) -> float | None:
        """False alarms an hour of all classes together; None without background."""
        return sum(one.alarms or 0 for one in self.classes) / self.hours if self.hours else None

    @property
    def alarms_an_hour_interval(self) -> Interval | None:
        """Its 95 % interval."""
        if not self.hours:
            return None
        low, high = count_interval(sum(one.alarms or 0 for one in self.classes))
        return low / self.hours, high / self.hours


def calibrate(
    gallery: Gallery,
    encoder: Encoder,
    index: Index,
    background: Background | None = None,
    *,
    false_alarms: float | None = None,
) -> Calibration:
    """Find a limit for each class of `index`, and keep the limits in the gallery.

    A class's strangers are the background's windows whose likeliest class it is, and the gallery's negatives; without
    background the negatives and the clips of the other classes. The limit is the cut with the fewest errors
    (`measured.best_limit`), or with `false_alarms` the farthest one under which the class causes at most so many an
    hour. A class of one clip has no distances of its own: see `measured.halfway`.

    Raises `background-missing`, `option-invalid`, `output-unwritable`.
    """
    if false_alarms is not None and (background is None or not 0 <= false_alarms < math.inf):
        raise MaclipError(
            "option-invalid",
            "A number of false alarms an hour, 0 or more, needs background video.",
            "Give background video, or leave the number out.",
        )
    work = _Work(gallery, encoder, index, background)
    classes = tuple(work.class_of(name, false_alarms) for name in index.names)
    hours = background.hours if background else 0.0
    result = Calibration(classes, work.measured_on, hours)
    made_at, graphs = now(), graphs_key(encoder)
    gallery.keep_limits(
        [
            ClassLimit(
                one.name,
                one.limit,
                clips_key(work.groups[one.name]),
                graphs,
                made_at,
                {**one.facts(), "measured_on": result.measured_on},
            )
            for one in classes
        ]
    )
    return result


class _Work:
    """What is measured once for all classes."""

    def __init__(self, gallery: Gallery, encoder: Encoder, index: Index, background: Background | None) -> None:
        self._gallery, self._encoder, self._index, self._background = gallery, encoder, index, background
        members = gallery.members()
        self._by_clip = class_prototypes(gallery, encoder, members)
        self.groups: dict[str, list[Member]] = {name: [] for name in index.names}
        for member in members:
            if member.class_name in self.groups and member.id in self._by_clip:
                self.groups[member.class_name].append(member)
        limit = encoder.bundle.manifest.limit
        self._prior = limit.distance if limit else None
        negatives = [clip.query for clip in sound(gallery.negatives())]
        self._negatives = self._matched(np.stack(negatives)) if negatives else None
        self._windows = self._matched(background.features) if background else None
        self._others = [] if background else self._sample(members)
        if not negatives and not background and len(index.names) == 1:
            raise MaclipError(
                "background-missing",
                "There is nothing to calibrate against: no background, no negatives, no other class.",
                "Give background video, or add negatives with `maclip-run negatives`.",
            )
        parts = [f"{len(negatives)} negatives"] if negatives else []
        if background:
            parts.insert(0, f"{len(background.stretch)} windows of background, {background.seconds:.0f} s")
        elif len(index.names) > 1:
            parts.append("the clips of the other classes")
        self.measured_on = " and ".join(parts)

    def class_of(self, name: str, false_alarms: float | None) -> ClassCalibration:
        """One class's limit and figures."""
        group = self.groups[name]
        chosen = sound(self._gallery.clips(ids=[group[place].id for place in spread(len(group), MAX_OWN)]))
        apart = [left_out(self._encoder, clip, group, self._by_clip) for clip in chosen]
        own = sorted(distance for distance in apart if distance is not None)
        column = self._index.names.index(name)
        likeliest, strangers = self._strangers(name, column)
        if self._background and false_alarms is not None:
            limit = _aimed(self._windows_of(column), likeliest, self._background, own, false_alarms)
        elif own:
            measured = best_limit(own, strangers.tolist(), self._prior)
            assert measured is not None  # there are samples
            limit = measured
        elif not chosen:  # its clips overflow
            limit = float(strangers.min())
        else:
            itself = self._matched(np.stack([clip.query for clip in chosen]))[0][:, column]
            limit = halfway(itself.tolist(), strangers)
        alarms = None
        if self._background:
            within = likeliest[self._windows_of(column)[likeliest] <= limit]
            alarms = runs(within, self._background)
        return ClassCalibration(
            name,
            limit,
            tuple(own),
            sum(distance > limit for distance in own),
            tuple(np.sort(strangers).tolist()),
            int((strangers <= limit).sum()),
            alarms,
            self._background.hours if self._background else 0.0,
        )

    def _strangers(self, name: str, column: int) -> tuple[Indices, Floats]:
        """Places of the background's windows that are likeliest this class, and all strangers' distances to it."""
        parts: list[Floats] = []
        likeliest = np.zeros(0, np.int64)
        for found in (self._windows, self._negatives):
            if found is None:
                continue
            distances, best = found
            places = np.flatnonzero(best == column)
            if found is self._windows:
                likeliest = places
            # A class that is never the likeliest still needs a limit: then all of them count.
            parts.append(distances[places, column] if len(places) else distances[:, column])
        if not self._background:
            others = [query for owner, query in self._others if owner != name]
            if others:
                parts.append(self._matched(np.stack(others))[0][:, column])
        return likeliest, np.concatenate(parts)

    def _windows_of(self, column: int) -> Floats:
        assert self._windows is not None
        return self._windows[0][:, column]

    def _matched(self, queries: Floats) -> tuple[Floats, Indices]:
        """Distances [N, C], and the place of the likeliest class [N]."""
        index = self._index
        match = match_all(self._encoder, queries, index.prototypes, index.text, index.has_text)
        return match.distances, match.probabilities.argmax(axis=1)

    def _sample(self, members: Sequence[Member]) -> list[tuple[str, Floats]]:
        ids = [members[place].id for place in spread(len(members), MAX_STRANGERS)]
        return [(clip.class_name, clip.query) for clip in sound(self._gallery.clips(ids=ids))]


def runs(places: Indices, background: Background) -> int:
    """How many alarms the windows at the ascending `places` make: those that share frames make one."""
    if not len(places):
        return 0
    joined = (np.diff(places) <= background.reach) & (np.diff(background.stretch[places]) == 0)
    return 1 + int((~joined).sum())


def _aimed(distances: Floats, likeliest: Indices, background: Background, own: Sequence[float], aim: float) -> float:
    """The farthest limit with at most `aim` alarms an hour, in the middle of the gap it can lie in."""
    budget = aim * background.hours
    order = likeliest[np.argsort(distances[likeliest], kind="stable")]
    allowed = 0
    while allowed < len(order) and runs(np.sort(order[: allowed + 1]), background) <= budget:
        allowed += 1
    if allowed == len(order):  # nothing in this background sets a limit
        beyond = float(distances[order[-1]]) if len(order) else float(distances.min())
        return max([beyond, *own])
    high = float(distances[order[allowed]])
    below = [float(distance) for distance in [*distances[order[:allowed]], *own] if distance < high]
    return (max(below) + high) / 2 if below else float(np.nextafter(np.float32(high), np.float32(-np.inf)))
