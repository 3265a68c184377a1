"""Known errors in the labels and cuts of published data sets, each with the action it calls for and its source."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from storage.interchange.padded import SEPARATOR
from storage.schema import AlignedDataset
from storage.segments import Segment, SegmentId
from tasks.folds import recognised

log = logging.getLogger(__name__)

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


def told(known: Iterable[Erratum], applied: bool) -> tuple[dict[str, str], ...]:
    """The errata as the report lists them, with the ``action`` that was taken: ``refused`` where none was to be."""
    return tuple(asdict(each) | ({} if applied or each.action == "note" else {"action": "refused"}) for each in known)


def correct_features(dataset: AlignedDataset, applied: bool) -> tuple[AlignedDataset, tuple[dict[str, str], ...]]:
    """A data set of features without its known errors, if these are to be applied, and all of them as ``told``.

    What is known of a clip reaches files that number clips as the corpora do; CMU-MOSI counts from 1.
    """
    name = recognised(dataset.videos)
    segments = [
        Segment(SegmentId(video, id.removeprefix(f"{video}{SEPARATOR}")), row, label=float(label))
        for row, (id, video, label) in enumerate(zip(dataset.ids, dataset.videos, dataset.labels, strict=True))
    ]
    known = known_errata(name, segments)
    if name == "cmu-mosi" and any(segment.id.clip == "0" for segment in segments):
        log.warning("clips are numbered from 0, in CMU-MOSI from 1: known errors of single clips are not looked for")
        known = [each for each in known if not each.clip]
    if applied:
        segments = apply_errata(segments, known)
        kept = [segment.row for segment in segments if not segment.excluded]
        labels = np.array([segment.label for segment in segments], np.float32)
        dataset = replace(dataset, labels=labels).take(kept)
    return dataset, told(known, applied)


def _corrected(segment: Segment, known: Sequence[Erratum]) -> Segment:
    for erratum in known:
        if erratum.action == "exclude":
            segment = replace(segment, excluded=segment.excluded or "erratum")
        elif erratum.action == "relabel":
            segment = replace(segment, label=float(erratum.label))
    return segment
