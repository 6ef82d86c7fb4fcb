"""The findings in words, each with a fix and the commands that make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maclip_runtime.diagnosis.commands import Commands
from maclip_runtime.diagnosis.evidence import Evidence
from maclip_runtime.diagnosis.report import ClassReport, Finding, LearningStep
from maclip_runtime.diagnosis.rules import Verdicts, fits_class
from maclip_runtime.diagnosis.samples import Sample, Samples
from maclip_runtime.diagnosis.words import MAX_NAMED, brought, counted, quoted, said, short, times
from maclip_runtime.gallery import NEGATIVE
from maclip_runtime.reading.frames import Floats

ROUNDING = 1e-5  # of distances: a limit that was measured on a clip does not lie beyond it


@dataclass(frozen=True)
class Findings:
    """Turns verdicts into findings.

    Attributes:
        names: the C classes.
        samples: their clips.
        evidence: of these clips.
        verdicts: on these clips.
        classes: the C classes' figures.
        limits: float32 [C], as they are used.
        farthest: float32 [C], distance of the farthest clip of any class to each.
        curve: what one clip more brought.
        negative_distances: float32 [M, C].
        commands: for this bundle and gallery.
    """

    names: Sequence[str]
    samples: Samples
    evidence: Evidence
    verdicts: Verdicts
    classes: Sequence[ClassReport]
    limits: Floats
    farthest: Floats
    curve: Sequence[LearningStep]
    negative_distances: Floats
    commands: Commands

    def all(self) -> list[Finding]:
        """The findings, the worst first."""
        return [
            *self._unreliable(),
            *self._crossing(),
            *self._misplaced(),
            *self._harmful(),
            *self._confused(),
            *self._negatives(),
            *self._twins(),
            *self._missed(),
            *self._few(),
            *self._limits(),
        ]

    def _unreliable(self) -> Iterator[Finding]:
        if not self.verdicts.reliable:
            tested, right = sum(one.tested for one in self.classes), sum(one.right for one in self.classes)
            yield Finding(
                "unreliable",
                f"Only {right} of {tested} clips are answered right: the model hardly tells these classes apart, so no "
                "single clip is accused.",
                "Use a model that was trained on actions more like these, or enroll clips that show them more clearly.",
                figures={"tested": tested, "right": right},
            )

    def _crossing(self) -> Iterator[Finding]:
        own = self.evidence.own
        for pair in self.verdicts.crossing:
            one, other = (self._clip(place) for place in pair)
            far = [float(own[place]) for place in pair]
            fix = "Look at it, and remove it from the class that it does not show."
            removed: tuple[Sample, ...] = (one, other)
            words = ""
            if np.isfinite(far).all() and far[0] != far[1]:
                nearer, farther = (one, other) if far[0] < far[1] else (other, one)
                words = (
                    f" It lies nearer to the other clips of {nearer.class_name!r} ({min(far):.3f}) than to those of "
                    f"{farther.class_name!r} ({max(far):.3f})."
                )
                fix, removed = f"Look at it; if it shows {nearer.class_name!r}, remove the other.", (farther,)
            yield Finding(
                "in-two-classes",
                f"{said(one)} of {one.class_name!r} and {said(other, small=True)} of {other.class_name!r} show the "
                f"same.{words}",
                fix,
                tuple(self.commands.remove(clip) for clip in removed),
                (one.class_name, other.class_name),
                (one.id, other.id),
            )

    def _misplaced(self) -> Iterator[Finding]:
        for place in self.verdicts.misplaced:
            clip, other = self._clip(place), self.names[int(self.evidence.answer[place])]
            gains = len(self.evidence.gains[place]) - len(self.evidence.losses[place])
            more = f", and {counted(gains, 'more clip')} of the gallery come out right" if gains > 0 else ""
            yield Finding(
                "misplaced",
                f"{said(clip)} of {clip.class_name!r} looks like {other!r}: it lies farther from its class than any "
                f"other clip of it, and {other!r} is {times(float(self.evidence.odds[place]))} as likely. Without it "
                f"the other clips lie nearer to their class{more}.",
                f"Look at it. Remove it, and if it shows {other!r}, enroll it there.",
                (self.commands.remove(clip), self.commands.enroll(other, clip.source)),
                (clip.class_name, other),
                (clip.id, self._typical(int(self.evidence.answer[place]), place).id),
                {
                    "distance": float(self.evidence.own[place]),
                    "other_distance": float(self.evidence.rival_distance[place]),
                    "odds": float(np.exp(min(self.evidence.odds[place], 50.0))),
                    "clips_right_without": gains,
                },
            )

    def _harmful(self) -> Iterator[Finding]:
        for place in self.verdicts.harmful:
            clip, helped = self._clip(place), self.evidence.gains[place]
            lost = len(self.evidence.losses[place])
            but = f", and {counted(lost, 'clip')} come out wrong" if lost else ""
            yield Finding(
                "harmful",
                f"Without {said(clip, small=True)} of {clip.class_name!r} {counted(len(helped), 'more clip')} of the "
                f"gallery come out right ({self._listed(helped)}){but}.",
                "Look at it; if it shows its action badly, remove it and enroll a better one.",
                (self.commands.remove(clip),),
                (clip.class_name,),
                (clip.id, self._clip(helped[0]).id),
                {"clips_right_without": len(helped) - lost},
            )

    def _confused(self) -> Iterator[Finding]:
        for confusion in self.verdicts.confusions:
            one, other = (self.names[column] for column in confusion.classes)
            wrong = confusion.mistaken
            worst = wrong[0]
            twin = confusion.classes[0 if self.samples.owner[worst] == confusion.classes[1] else 1]
            yield Finding(
                "confused",
                f"{one!r} and {other!r} are confused: of their {confusion.clips} clips {len(wrong)} are answered as "
                f"the other class ({self._listed(wrong)}).",
                f"Look at both. If they are the same action, remove one (`{self.commands.remove_class(other)}`) and "
                "enroll its clips in the other. Else enroll more clips of both that show the difference.",
                (self.commands.show(one, "one.png"), self.commands.show(other, "other.png")),
                (one, other),
                (self._clip(worst).id, self._typical(twin, worst).id),
                {"clips": confusion.clips, "mistaken": len(wrong)},
            )

    def _negatives(self) -> Iterator[Finding]:
        count, contradicted = len(self.samples.clips), {}
        for one, other in self.verdicts.contradicted:
            contradicted[other - count] = one
        for place, negative in enumerate(self.samples.negatives):
            distances = self.negative_distances[place]
            column = int(self.samples.owner[contradicted[place]] if place in contradicted else distances.argmin())
            name = self.names[column]
            if place in contradicted:
                like = self._clip(contradicted[place])
                message = (
                    f"Negative {negative.id} ({short(negative.source)}) shows the same as clip {like.id} of {name!r}."
                )
            elif fits_class(self.evidence, self.samples, column, float(distances[column])):
                like = self._typical(column, None)
                message = (
                    f"Negative {negative.id} ({short(negative.source)}) lies as near to {name!r} as half of its own "
                    "clips; as a negative it lowers the limits."
                )
            else:
                continue
            yield Finding(
                "negative-in-class",
                message,
                f"Look at it; if it shows {name!r}, remove it from the negatives.",
                (self.commands.remove(negative),),
                (name,),
                (negative.id, like.id),
                {"distance": float(distances[column])},
            )

    def _twins(self) -> Iterator[Finding]:
        for one, other in self.verdicts.twins:
            first, second = self._any(one), self._any(other)
            whose = f"of {first.class_name!r} " if first.class_name != NEGATIVE else ""
            kind = "Clips" if whose else "Negatives"
            yield Finding(
                "duplicate",
                f"{kind} {first.id} ({short(first.source)}) and {second.id} ({short(second.source)}) {whose}show the "
                "same; the second adds nothing.",
                "Remove one of them; a clip of another moment, place or person would help.",
                (self.commands.remove(second),),
                (first.class_name,) if whose else (),
                (first.id, second.id),
            )

    def _missed(self) -> Iterator[Finding]:
        by_class: dict[int, list[int]] = {}
        for place in self.verdicts.missed:
            by_class.setdefault(int(self.samples.owner[place]), []).append(place)
        for column, places in by_class.items():
            name = self.names[column]
            answers = sorted({self.names[int(self.evidence.answer[place])] for place in places})
            worst = max(places, key=lambda place: float(self.evidence.odds[place]))
            harm = [self._clip(one) for one in self._who_harms(places)]
            without = ", ".join(f"clip {one.id} of {one.class_name!r}" for one in harm[:MAX_NAMED])
            yield Finding(
                "missed",
                f"Of the {self.classes[column].tested} clips of {name!r} the others do not recognise {len(places)} "
                f"({self._listed(places)}), which {'is' if len(places) == 1 else 'are'} answered as {quoted(answers)}."
                + (f" Some come out right without {without}." if harm else ""),
                "Look at what is special about it, and enroll more clips like it."
                if len(places) == 1
                else "Look at what is special about them, and enroll more clips like them.",
                (self.commands.show(name), self.commands.enroll(name)),
                (name, *answers),
                (self._clip(worst).id, self._typical(int(self.evidence.answer[worst]), worst).id),
            )

    def _who_harms(self, places: Sequence[int]) -> list[int]:
        """Clips without which some of the clips at `places` come out right, and more clips right than wrong."""
        return [
            one
            for one, (gains, losses) in enumerate(zip(self.evidence.gains, self.evidence.losses, strict=True))
            if len(gains) > len(losses) and set(gains) & set(places)
        ]

    def _few(self) -> Iterator[Finding]:
        single = [one.name for one in self.classes if one.clips == 1]
        if single:
            step = self._step(1)
            words = f" {brought(step)}" if step else ""
            yield Finding(
                "one-clip",
                f"{counted(len(single), 'class', 'classes')} with one clip: {quoted(single)}. How well such a class is "
                f"recognised is not measurable with one clip.{words}",
                "Enroll a second clip; three to five are a good start.",
                tuple(self.commands.enroll(name) for name in single[:MAX_NAMED]),
                tuple(single),
                tuple(self._first(name).id for name in single[:1]),
            )
        by_count: dict[int, list[ClassReport]] = {}
        for one in self.classes:
            if one.clips > 1 and one.right < one.tested:
                by_count.setdefault(one.clips, []).append(one)
        for count, classes in sorted(by_count.items()):
            step = self._step(count)
            if step is None or step.gain_interval is None or step.gain_interval[0] <= 0:
                continue
            wanted = [one.name for one in sorted(classes, key=lambda one: one.right / one.tested)]
            yield Finding(
                "few-clips",
                f"{counted(len(wanted), 'class', 'classes')} with {count} clips of which some are not recognised by "
                f"the others: {quoted(wanted)}. {brought(step)}",
                "Enroll one clip more, and look again.",
                tuple(self.commands.enroll(name) for name in wanted[:MAX_NAMED]),
                tuple(wanted),
                (self._first(wanted[0]).id,),
                {"gain": step.gain},
            )

    def _limits(self) -> Iterator[Finding]:
        unlimited = [name for name, limit in zip(self.names, self.limits, strict=True) if np.isinf(limit)]
        if unlimited:
            yield Finding(
                "no-limit",
                f"{counted(len(unlimited), 'class', 'classes')} without a limit: {quoted(unlimited)}. Everything is "
                'taken for one of the classes, nothing is "unknown".',
                "Calibrate against video in which none of the actions happens, or add negatives.",
                (self.commands.calibrate(),),
                tuple(unlimited),
                (self._first(unlimited[0]).id,),
            )
        for column, (name, limit) in enumerate(zip(self.names, self.limits, strict=True)):
            report, farthest = self.classes[column], float(self.farthest[column])
            if np.isfinite(limit) and limit > farthest + ROUNDING * abs(farthest) and len(self.names) > 1:
                yield Finding(
                    "loose-limit",
                    f"The limit of {name!r}, {limit:.3f}, lies beyond all clips of the gallery; the farthest is at "
                    f'{farthest:.3f}. Hardly anything is "unknown".',
                    "Calibrate against video in which none of the actions happens.",
                    (self.commands.calibrate(),),
                    (name,),
                    (self._first(name).id,),
                    {"limit": float(limit), "farthest": farthest},
                )
            elif report.tested > 1 and report.beyond_limit == report.tested:
                yield Finding(
                    "tight-limit",
                    f"The limit of {name!r}, {limit:.3f}, is below the distances of all its {report.tested} clips: "
                    'left out, each is "unknown".',
                    "Enroll more clips of it, then calibrate.",
                    (self.commands.enroll(name), self.commands.calibrate()),
                    (name,),
                    (self._first(name).id,),
                    {"limit": float(limit)},
                )

    def _step(self, count: int) -> LearningStep | None:
        """The step from `count` clips on, or the last one before it that can be measured."""
        return next((step for step in reversed(self.curve) if step.clips <= count), None)

    def _clip(self, place: int) -> Sample:
        return self.samples.clips[place]

    def _any(self, place: int) -> Sample:
        count = len(self.samples.clips)
        return self._clip(place) if place < count else self.samples.negatives[place - count]

    def _first(self, name: str) -> Sample:
        return next(clip for clip in self.samples.clips if clip.class_name == name)

    def _typical(self, column: int, place: int | None) -> Sample:
        """The clip of a class that lies nearest to the others of it, or the first; never the one at `place`."""
        own = np.where(self.samples.owner == column, np.nan_to_num(self.evidence.own, nan=1e30), np.inf)
        if place is not None:
            own[place] = np.inf
        return self._clip(int(own.argmin()))

    def _listed(self, places: Sequence[int]) -> str:
        shown = ", ".join(str(self._clip(place).id) for place in places[:MAX_NAMED])
        more = f" and {len(places) - MAX_NAMED} more" if len(places) > MAX_NAMED else ""
        return f"{'clip' if len(places) == 1 else 'clips'} {shown}{more}"
