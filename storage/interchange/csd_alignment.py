"""Computational sequences of one corpus become a word-aligned data set.

As the SDK's ``align`` does with a mean as its collapse function: a word has the mean of every interval of another
sequence that overlaps its own. Intervals overlap when they have EPSILON in common or come within it of each other.
Shapes: W words, n intervals, D columns.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage.interchange.csd import ComputationalSequence, read_csd
from storage.interchange.padded import SEPARATOR
from storage.schema import AlignedDataset, StoreError

log = logging.getLogger(__name__)

EPSILON = 1e-5
"""Seconds by which times may be off and still be the same (the SDK's ``dataset.py``)."""
BLOCK = 64
"""Stops that are summed up to at a time, so that what is between them stays in the processor's cache."""
PAUSE = "sp"
"""What the corpora's transcripts write for a silence."""
MODALITIES = {
    "text": ("glove", "wordvector", "word_vector"),
    "vision": ("vis", "facet", "openface", "face"),
    "audio": ("covarep", "opensmile", "acoustic", "audio"),
}
"""What the names of sequences have in them, by modality."""
IDS_IN_SENTENCE = 5
NO_INTERVALS = np.zeros((0, 2))


class _Segment(NamedTuple):
    """A labelled stretch of a video, its number there, its start in seconds, and the rows of its words, by time."""

    video: str
    number: int
    start: float
    label: float
    words: np.ndarray

    @property
    def id(self) -> str:
        return f"{self.video}{SEPARATOR}{self.number}"


def read_csds(paths: Sequence[Path], text: str) -> AlignedDataset:
    """A word-aligned data set from the files of one corpus: words, labels, and at most one sequence a modality.

    Words are the strings, but for phones; labels the sequence with "label" in its name, of which the first column is
    read and whose intervals are the segments: ``video$_$1``, ``video$_$2``, ... in the order of the file, as the
    corpora number their clips. A word belongs to every segment in which its middle lies; pauses are left out. The
    word vectors become the feature that ``text`` names. Raises StoreError, naming the file.
    """
    words, labels, measured = _sort([(path, read_csd(path)) for path in sorted(paths)], text)
    segments = _segments(labels, words)
    counts = [len(segment.words) for segment in segments]
    times = [words.intervals[segment.video][segment.words] - segment.start for segment in segments]
    starts_ends = np.concatenate([NO_INTERVALS, *times])  # [W, 2]
    pooled = {name: _word_means(sequence, words, segments) for name, sequence in measured.items()}
    return AlignedDataset(
        ids=tuple(segment.id for segment in segments),
        videos=tuple(segment.video for segment in segments),
        labels=np.array([segment.label for segment in segments], np.float32),
        splits=("",) * len(segments),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        words=tuple(word for segment in segments for word in words.features[segment.video][segment.words, 0].tolist()),
        starts=starts_ends[:, 0].copy(),
        ends=starts_ends[:, 1].copy(),
        features={name: values for name, (values, _) in pooled.items()},
        masks={name: mask for name, (_, mask) in pooled.items()},
        columns={
            name: measured[name].columns or tuple(f"{name}_{column}" for column in range(values.shape[1]))
            for name, (values, _) in pooled.items()
        },
    )


def overlap_means(words: np.ndarray, intervals: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each word the mean of the features whose intervals overlap it: (float64 [W, D], counts int64 [W]).

    ``words`` [W, 2] and ``intervals`` [n, 2] start before they end, in any order and nested in any way; ``features``
    [n, D] are finite. A word without any has zeros and a count of 0.

    An interval overlaps a word unless it ends before the word or begins after it, and none does both; so that a sum
    over those that overlap is the sum over those that begin early enough less the sum over those that end too early.
    """
    by_start = np.argsort(intervals[:, 0], kind="stable")
    by_end = np.argsort(intervals[:, 1], kind="stable")
    begun = np.searchsorted(intervals[by_start, 0], words[:, 1] + EPSILON, side="left")  # [W]
    ended = np.searchsorted(intervals[by_end, 1], words[:, 0] - EPSILON, side="right")  # [W]
    counts = begun - ended
    if np.array_equal(by_start, by_end):  # as in sorted data: what the sums share is rounded alike
        sums_begun, sums_ended = np.split(_sums(features, by_start, np.concatenate([begun, ended])), 2)
    else:
        sums_begun, sums_ended = _sums(features, by_start, begun), _sums(features, by_end, ended)
    return (sums_begun - sums_ended) / np.maximum(counts, 1)[:, None] * (counts > 0)[:, None], counts


def _sums(values: np.ndarray, order: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The sums of ``values[order[:stop]]`` for every stop: float64 [len(stops), D]."""
    edges, places = np.unique(np.concatenate([[0], stops]), return_inverse=True)
    sums = np.zeros((len(edges), values.shape[1]))
    for first in range(0, len(edges) - 1, BLOCK):
        block = edges[first : first + BLOCK + 1]
        rows = values[order[block[0] : block[-1]]]
        np.add.reduceat(rows, block[:-1] - block[0], axis=0, dtype=np.float64, out=sums[first + 1 : first + len(block)])
    return np.cumsum(sums, axis=0)[places[1:]]


def _sort(
    files: Sequence[tuple[Path, ComputationalSequence]], text: str
) -> tuple[ComputationalSequence, ComputationalSequence, dict[str, ComputationalSequence]]:
    """Words, labels, and the others by the name of their feature."""
    found: dict[str, tuple[Path, ComputationalSequence]] = {}
    for path, sequence in files:
        role = _role(sequence, text)
        if role == "phones":
            log.info("%s: phones are not used", path)
            continue
        if role in found:
            raise StoreError("two_of_a_kind", f"{found[role][0]} and {path} are both {role}: leave one out")
        found[role] = (path, sequence)
    for role in ("words", "labels"):
        if role not in found:
            names = ", ".join(f"{path.name} ({sequence.name!r})" for path, sequence in files) or "no .csd file"
            raise StoreError("missing", f"no sequence of {role} among {names}")
    sequences = {role: sequence for role, (_, sequence) in found.items()}
    words, labels = sequences.pop("words"), sequences.pop("labels")
    for path, sequence in found.values():
        if sequence is not words and _of_words(sequence):
            raise StoreError("unreadable", f"{path}: {sequence.name!r} are words, numbers expected")
    return words, labels, sequences


def _role(sequence: ComputationalSequence, text: str) -> str:
    name = sequence.name.lower()
    if "phone" in name:
        return "phones"
    if "label" in name:
        return "labels"
    if _of_words(sequence):
        return "words"
    for modality, parts in MODALITIES.items():
        if any(part in name for part in parts):
            return text if modality == "text" else modality
    raise StoreError(
        "unknown_sequence",
        f"{sequence.name!r} is none of the sequences that are known by their names: "
        f"{', '.join(part for parts in MODALITIES.values() for part in parts)}, label; leave its file out",
    )


def _of_words(sequence: ComputationalSequence) -> bool:
    return any(values.dtype.kind == "U" for values in sequence.features.values())


def _segments(labels: ComputationalSequence, words: ComputationalSequence) -> list[_Segment]:
    """Every segment that has a word."""
    segments, wordless = [], []
    for video, intervals in labels.intervals.items():
        middles = words.intervals.get(video, NO_INTERVALS).mean(axis=1)  # [W]
        said = np.flatnonzero(words.features[video][:, 0] != PAUSE) if len(middles) else np.zeros(0, np.int64)
        said = said[np.argsort(middles[said], kind="stable")]
        first, stop = np.searchsorted(middles[said], intervals.T)  # [M] each
        for place, label in enumerate(labels.features[video][:, 0].tolist()):
            segment = _Segment(video, place + 1, float(intervals[place, 0]), label, said[first[place] : stop[place]])
            (segments if len(segment.words) else wordless).append(segment)
    if wordless:
        names = ", ".join(segment.id for segment in wordless[:IDS_IN_SENTENCE])
        total = len(wordless) + len(segments)
        log.warning("%d of %d segments have no word and are left out, such as %s", len(wordless), total, names)
    return segments


def _word_means(
    sequence: ComputationalSequence, words: ComputationalSequence, segments: Sequence[_Segment]
) -> tuple[np.ndarray, np.ndarray]:
    """(values float32 [W, D], mask bool [W]) over the words of all segments; rows that are not finite are left out."""
    width = next((values.shape[1] for values in sequence.features.values()), 0)
    means, counts, unusable, total = {}, {}, 0, 0
    for video in dict.fromkeys(segment.video for segment in segments):
        intervals = sequence.intervals.get(video, NO_INTERVALS)
        features = sequence.features.get(video, np.zeros((0, width)))
        usable = np.isfinite(features).all(axis=1) & (intervals[:, 0] <= intervals[:, 1])
        unusable, total = unusable + int((~usable).sum()), total + len(usable)
        means[video], counts[video] = overlap_means(words.intervals[video], intervals[usable], features[usable])
    if unusable:
        log.warning(
            "%s: %d of %d rows are not finite or end before they begin, and count as not measured",
            sequence.name, unusable, total,
        )  # fmt: skip
    values = [means[segment.video][segment.words] for segment in segments]
    mask = [counts[segment.video][segment.words] > 0 for segment in segments]
    return (
        np.concatenate([np.zeros((0, width)), *values]).astype(np.float32),
        np.concatenate([np.zeros(0, bool), *mask]),
    )
