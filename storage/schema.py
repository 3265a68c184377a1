"""The records that are written to a store and read from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

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
    """Word-aligned features of N segments, flat and ragged: segment i owns word rows ``offsets[i]:offsets[i + 1]``.

    ``ids``, ``videos``, ``splits`` have N entries (a split is train, valid, test or empty); ``labels`` float32 [N], NaN
    where there is none; ``offsets`` int64 [N + 1]; ``words`` has W entries, W over all segments; ``starts``, ``ends``
    float64 [W] in seconds from the segment's start, NaN where unknown. ``features`` maps a feature's name to float32
    [W, D], ``masks`` to bool [W] (False where nothing was measured during the word; the row is zero), ``columns`` to
    the D names.
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

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit each other."""
        segments, rows = len(self.ids), len(self.words)
        fits = {
            "videos": len(self.videos) == segments,
            "labels": self.labels.shape == (segments,),
            "splits": len(self.splits) == segments,
            "offsets": self.offsets.shape == (segments + 1,)
            and self.offsets[0] == 0
            and self.offsets[-1] == rows
            and bool(np.all(np.diff(self.offsets) >= 0)),
            "starts": self.starts.shape == (rows,),
            "ends": self.ends.shape == (rows,),
            "masks": self.masks.keys() == self.features.keys(),
            "columns": self.columns.keys() == self.features.keys(),
        }
        for name, values in self.features.items():
            fits[f"features[{name!r}]"] = values.shape == (rows, len(self.columns.get(name, ())))
            fits[f"masks[{name!r}]"] = np.shape(self.masks.get(name)) == (rows,)
        if misfits := [name for name, fit in fits.items() if not fit]:
            raise ValueError(
                f"a data set of {segments} segments and {rows} words does not fit its {', '.join(misfits)}"
            )
