"""Known errors in the labels and cuts of published data sets, each with the action it calls for and its source."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from storage.segments import Segment

ERRATA = Path(__file__).parent / "facts" / "errata.csv"
ACTIONS = ("exclude", "relabel", "note")


@dataclass(frozen=True)
class Erratum:
    """One known error. Without a ``clip`` it is about all of a video, without a ``video`` about the data set.

    ``action`` is ``exclude``, ``relabel`` (to ``label``) or ``note``, which changes nothing.
    """

    data_set: str
    video: str
    clip: str
    what: str
    action: str
    label: str
    source: str

    def meets(self, segment: Segment) -> bool:
        return self.video == segment.id.video and self.clip in ("", segment.id.clip)


@cache
def errata() -> tuple[Erratum, ...]:
    """All of them, in the order of the file."""
    with ERRATA.open(encoding="utf-8", newline="") as file:
        return tuple(Erratum(**row) for row in csv.DictReader(file))


def known_errata(data_set: str | None, segments: Iterable[Segment]) -> list[Erratum]:
    """Those of a data set (its name, if it is a published one) that are about these segments or about all of it."""
    there = {(segment.id.video, clip) for segment in segments for clip in ("", segment.id.clip)} | {("", "")}
    return [each for each in errata() if each.data_set == data_set and (each.video, each.clip) in there]


def apply_errata(segments: Sequence[Segment], known: Sequence[Erratum]) -> list[Segment]:
    """The segments, those to exclude ``excluded`` as an erratum and those to relabel with their right label."""
    return [_corrected(segment, [each for each in known if each.meets(segment)]) for segment in segments]


def _corrected(segment: Segment, known: Sequence[Erratum]) -> Segment:
    for erratum in known:
        if erratum.action == "exclude":
            segment = replace(segment, excluded=segment.excluded or "erratum")
        elif erratum.action == "relabel":
            segment = replace(segment, label=float(erratum.label))
    return segment
