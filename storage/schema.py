"""The records that are written to a store and read from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SCHEMA_VERSION = 1


class StoreError(Exception):
    """A store, or a file of an interchange format, that cannot be read or written; ``reason`` is a short code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def fingerprint(recipe: dict) -> str:
    """Names what a recipe makes: 16 hex digits of the sha256 of its canonical JSON.

    A recipe holds everything that can change the result (config, code version, library versions, sha256 of assets) and
    is JSON-able; TypeError or ValueError (NaN, infinity) otherwise.
    """
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Word:
    """One spoken token of a segment.

    ``start`` and ``end`` are seconds from the segment's start. ``confidence`` is in [0, 1]. ``source`` says where
    the times come from: ``given`` (by the data set), ``aligned`` (forced alignment), ``interpolated`` (between
    its neighbours, because it could not be aligned) or ``transcribed`` (by speech recognition, as the word itself).
    """

    text: str
    start: float
    end: float
    confidence: float = 1.0
    source: str = "given"


@dataclass(frozen=True)
class Frames:
    """What one extractor measured over one segment.

    Shapes: ``values`` float32 [F, D]; ``times`` float64 [F], seconds from the segment's start (for word vectors, which
    have no times of their own, the position of the word); ``mask`` bool [F], False where nothing was measured
    (no face, an unknown word); such rows of ``values`` are zero.
    """

    values: np.ndarray
    times: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Failure:
    """Why a step could not treat one segment: a short reason code, and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class AlignedDataset:
    """Words and features of N segments, flat and ragged: segment i owns word rows ``offsets[i]:offsets[i + 1]``.

    ``ids``, ``videos``, ``splits`` have N entries (a split is train, valid, test or empty); ``labels`` float32 [N], NaN
    where there is none; ``offsets`` int64 [N + 1]; ``words`` has W entries, W over all segments; ``starts``, ``ends``
    float64 [W] in seconds from the segment's start, NaN where unknown. ``features`` maps a feature's name to float32
    [W, D], ``masks`` to bool [W] (False where nothing was measured during the word; the row is zero), ``columns`` to
    the D names.

    An unaligned feature has F frames instead of W words, and entries of its own in ``frame_offsets`` (int64 [N + 1])
    and ``frame_times`` (float64 [F], seconds from the segment's start, NaN where unknown).
    """

    ids: tuple[str, ...]
    videos: tuple[str, ...]
    labels: np.ndarray
    splits: tuple[str, ...]
    offsets: np.ndarray
    words: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    features: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    columns: dict[str, tuple[str, ...]]
    frame_offsets: dict[str, np.ndarray] = field(default_factory=dict)
    frame_times: dict[str, np.ndarray] = field(default_factory=dict)

    def feature_offsets(self, name: str) -> np.ndarray:
        """The rows of a feature that each segment owns, int64 [N + 1]: its own, or those of the words."""
        return self.frame_offsets.get(name, self.offsets)

    def take(self, places: Sequence[int] | np.ndarray) -> AlignedDataset:
        """The data set of the segments at these places, in this order."""
        offsets, rows = _taken(self.offsets, places)
        own = {name: _taken(offsets, places) for name, offsets in self.frame_offsets.items()}
        rows_of = {name: own[name][1] if name in own else rows for name in self.features}
        return AlignedDataset(
            ids=tuple(self.ids[place] for place in places),
            videos=tuple(self.videos[place] for place in places),
            labels=self.labels[np.asarray(places, np.int64)],
            splits=tuple(self.splits[place] for place in places),
            offsets=offsets,
            words=tuple(self.words[row] for row in rows.tolist()),
            starts=self.starts[rows],
            ends=self.ends[rows],
            features={name: values[rows_of[name]] for name, values in self.features.items()},
            masks={name: mask[rows_of[name]] for name, mask in self.masks.items()},
            columns=self.columns,
            frame_offsets={name: offsets for name, (offsets, _) in own.items()},
            frame_times={name: times[rows_of[name]] for name, times in self.frame_times.items()},
        )

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit each other."""
        segments, rows = len(self.ids), len(self.words)
        fits = {
            "videos": len(self.videos) == segments,
            "labels": self.labels.shape == (segments,),
            "splits": len(self.splits) == segments,
            "offsets": _divides(self.offsets, segments, rows),
            "starts": self.starts.shape == (rows,),
            "ends": self.ends.shape == (rows,),
            "masks": self.masks.keys() == self.features.keys(),
            "columns": self.columns.keys() == self.features.keys(),
            "frame_offsets": self.frame_offsets.keys() <= self.features.keys(),
            "frame_times": self.frame_times.keys() == self.frame_offsets.keys(),
        }
        for name, values in self.features.items():
            own = len(values) if name in self.frame_offsets else rows
            fits[f"features[{name!r}]"] = values.shape == (own, len(self.columns.get(name, ())))
            fits[f"masks[{name!r}]"] = np.shape(self.masks.get(name)) == (own,)
        for name, offsets in self.frame_offsets.items():
            frames = len(self.features.get(name, ()))
            fits[f"frame_offsets[{name!r}]"] = _divides(offsets, segments, frames)
            fits[f"frame_times[{name!r}]"] = np.shape(self.frame_times.get(name)) == (frames,)
        if misfits := [name for name, fit in fits.items() if not fit]:
            raise ValueError(
                f"a data set of {segments} segments and {rows} words does not fit its {', '.join(misfits)}"
            )


def join(parts: Sequence[AlignedDataset]) -> AlignedDataset:
    """The segments of all parts, one after the other; what is unaligned in one is so in all.

    Raises ValueError where the parts do not have the same features and columns.
    """
    first = parts[0]
    for part in parts:
        if part.columns != first.columns:
            unlike = {name for name, _ in dict(part.columns).items() ^ dict(first.columns).items()}
            raise ValueError(f"features or columns differ: {', '.join(sorted(unlike))}")
    unaligned = {name for part in parts for name in part.frame_offsets}
    return AlignedDataset(
        **{name: sum((getattr(part, name) for part in parts), ()) for name in ("ids", "videos", "splits", "words")},
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "starts", "ends")},
        offsets=_joined([part.offsets for part in parts]),
        features={name: np.concatenate([part.features[name] for part in parts]) for name in first.features},
        masks={name: np.concatenate([part.masks[name] for part in parts]) for name in first.features},
        columns=first.columns,
        frame_offsets={name: _joined([part.feature_offsets(name) for part in parts]) for name in unaligned},
        frame_times={
            name: np.concatenate(
                [part.frame_times.get(name, np.full(len(part.features[name]), np.nan)) for part in parts]
            )
            for name in unaligned
        },
    )


def _joined(offsets: Sequence[np.ndarray]) -> np.ndarray:
    lengths = np.concatenate([np.diff(part) for part in offsets])
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _taken(offsets: np.ndarray, places: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offsets of the segments at these places, int64 [M + 1], and the rows that they own."""
    places = np.asarray(places, np.int64)
    lengths = np.diff(offsets)[places]
    taken = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return taken, np.arange(taken[-1]) + np.repeat(offsets[places] - taken[:-1], lengths)


def _divides(offsets: np.ndarray, segments: int, rows: int) -> bool:
    """Whether offsets cut so many rows into so many segments."""
    return (
        offsets.shape == (segments + 1,)
        and offsets[0] == 0
        and offsets[-1] == rows
        and bool(np.all(np.diff(offsets) >= 0))
    )
