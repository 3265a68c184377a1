"""Data sets as padded arrays, one set of them a file or split: what .npz archives and the field's pickles hold.

Every float array of three dimensions is a feature [N, T, D], zero beyond the rows of a segment: after them, or before
them. ``docs/interchange.md`` lists the keys. Shapes: N segments, T rows of the longest one, D columns, W words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from storage.schema import AlignedDataset, StoreError

log = logging.getLogger(__name__)

SEPARATOR = "$_$"
NO_FEATURES = ("text_bert", "labels")
"""Arrays of three dimensions that are none."""
KINDS = {"numbers": "biuf", "text": "U"}
MOST_WORDS = 100_000
"""In a segment."""
PIECES = ("piece", "word")
"""Columns of the feature ``pieces``: a piece's number in the encoder's vocabulary, and the word that it is part of."""


def read(arrays: Mapping[str, np.ndarray], where: str, text: str) -> AlignedDataset:
    """A data set of whole arrays; the array ``text`` becomes the feature that ``text`` names.

    A feature is unaligned if it has lengths of its own. Where the arrays do not say: a segment is as long as its rows
    are not zero; columns are ``vision_0``, ...; rows of zeros count as not measured; words come from ``raw_text`` where
    that has as many as the segment has rows, and are empty strings elsewhere. Rows with values that are not finite
    become zeros that were not measured, and a warning counts them. Raises StoreError, naming ``where`` and the key.
    """
    found = _Arrays(arrays, where)
    padded = found.features()
    count = len(next(iter(padded.values())))
    lengths = found.lengths(padded)
    words = found.word_counts(lengths)  # [N]
    inside = {key: found.inside(key, values, lengths[key]) for key, values in padded.items()}
    by_word = found.by_word(words)
    names = {key: text if key == "text" else key for key in padded}
    unaligned = [key for key in padded if found.has(f"{key}_lengths") or not np.array_equal(lengths[key], words)]
    measured = {key: found.measured(key, values, inside[key]) for key, values in padded.items()}
    ids = found.ids(count)
    dataset = {
        "features": {names[key]: values for key, (values, _) in measured.items()},
        "masks": {names[key]: mask for key, (_, mask) in measured.items()},
        "columns": {names[key]: found.columns(key, names[key]) for key in padded},
        "frame_offsets": {names[key]: _offsets(lengths[key]) for key in unaligned},
        "frame_times": {names[key]: found.rows(f"{key}_times", inside[key], np.nan) for key in unaligned},
    }
    if found.has("text_bert") and "pieces" not in padded:
        for part, value in found.pieces(count).items():
            dataset[part]["pieces"] = value
    return AlignedDataset(
        ids=ids,
        videos=tuple(name.rsplit(SEPARATOR, 1)[0] for name in ids),
        labels=found.array("regression_labels", count, absent=np.full(count, np.nan)).astype(np.float32),
        splits=tuple(found.array("splits", count, kind="text", absent=np.full(count, "")).tolist()),
        offsets=_offsets(words),
        words=found.words(by_word, words),
        starts=found.rows("starts", by_word, np.nan),
        ends=found.rows("ends", by_word, np.nan),
        **dataset,
    )


def write(dataset: AlignedDataset, text: str) -> dict[str, np.ndarray]:
    """The arrays, padded with zeros at the end, from which ``read`` makes the same data set again."""
    parts = zip(dataset.offsets, dataset.offsets[1:], strict=False)
    found = {
        "id": np.array(dataset.ids, dtype=np.str_),
        "lengths": np.diff(dataset.offsets),
        "regression_labels": dataset.labels,
        "raw_text": np.array([" ".join(dataset.words[first:stop]) for first, stop in parts], dtype=np.str_),
        "splits": np.array(dataset.splits, dtype=np.str_),
        "words": _pad(np.array(dataset.words, dtype=np.str_), dataset.offsets),
        "starts": _pad(dataset.starts, dataset.offsets),
        "ends": _pad(dataset.ends, dataset.offsets),
    }
    for name, values in dataset.features.items():
        key, offsets = "text" if name == text else name, dataset.feature_offsets(name)
        found[key] = _pad(values, offsets)
        found[f"{key}_mask"] = _pad(dataset.masks[name], offsets)
        found[f"{key}_columns"] = np.array(dataset.columns[name], dtype=np.str_)
        if name in dataset.frame_offsets:
            found[f"{key}_lengths"] = np.diff(offsets)
            found[f"{key}_times"] = _pad(dataset.frame_times[name], offsets)
    return found


def text_bert(dataset: AlignedDataset) -> np.ndarray:
    """The feature ``pieces`` as models of the field read it, [N, 3, T]: numbers, mask and types (all 0)."""
    offsets = dataset.feature_offsets("pieces")
    numbers = _pad(dataset.features["pieces"][:, 0], offsets)
    mask = _pad(np.ones(offsets[-1], np.float32), offsets)
    return np.stack([numbers, mask, np.zeros_like(mask)], axis=1)


def finite(values: np.ndarray, where: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [rows, D], of zeros where any value is not finite; bool [rows], where all are); a warning counts."""
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    usable = np.isfinite(rows).all(axis=1)
    if not usable.all():
        log.warning(
            "%s: %d of %d rows of %s are not finite and count as not measured",
            where, int((~usable).sum()), len(rows), key,
        )  # fmt: skip
        rows[~usable] = 0
    return rows, usable


def _pad(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """[rows, ...] to [N, T, ...]"""
    lengths = np.diff(offsets)
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.zeros((*inside.shape, *values.shape[1:]), values.dtype)
    padded[inside] = values
    return padded


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


class _Arrays:
    """The arrays by key, each checked as it is asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        self.arrays, self.where = arrays, where

    def has(self, key: str) -> bool:
        return key in self.arrays

    def error(self, key: str, message: str) -> StoreError:
        return StoreError("unreadable", f"{self.where}, key {key!r}: {message}")

    def array(
        self, key: str, *shape: int | None, kind: str = "numbers", absent: np.ndarray | None = None
    ) -> np.ndarray:
        """The array of this shape (None: any size) and kind; ``absent`` where there is no such key, if given."""
        values = self.arrays.get(key, absent)
        if values is None:
            raise self.error(key, f"absent; there are {', '.join(sorted(self.arrays)) or 'no arrays'}")
        if len(shape) != values.ndim or any(n not in (None, m) for n, m in zip(shape, values.shape, strict=True)):
            expected = tuple("any" if size is None else size for size in shape)
            raise self.error(key, f"its shape is {values.shape}, {expected} expected")
        if values.dtype.kind not in KINDS[kind]:
            raise self.error(key, f"its type is {values.dtype}, {kind} expected")
        if kind == "text":
            try:
                "".join(values.ravel().tolist()).encode()
            except ValueError as cause:
                raise self.error(key, f"it is no Unicode text: {cause}") from cause
        return values

    def ids(self, count: int) -> tuple[str, ...]:
        ids = self.array("id", count, kind="text").tolist()
        for row, name in enumerate(ids):
            if SEPARATOR not in name:
                raise self.error("id", f"entry {row} is {name!r}, not video{SEPARATOR}clip")
        return tuple(ids)

    def features(self) -> dict[str, np.ndarray]:
        """Float [N, T, D] of one N. Text without any padding is cut to the mask of ``text_bert``: encoders fill it."""
        found = {
            key: values
            for key, values in self.arrays.items()
            if values.ndim == 3 and values.dtype.kind == "f" and key not in NO_FEATURES
        }
        if not found:
            raise self.error("text", "neither this nor any other key holds features [N, T, D]")
        count = len(next(iter(found.values())))
        found = {key: self.array(key, count, None, None) for key in found}
        if "text" in found and self.has("text_bert") and not self.has("lengths") and found["text"].any(axis=2).all():
            mask = self.array("text_bert", count, 3, None)[:, 1] != 0  # [N, T]
            if mask.shape == found["text"].shape[:2]:
                found["text"] = np.where(mask[..., None], found["text"], 0)
        return found

    def lengths(self, padded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of each segment, int [N] for each feature: as given, else as far as any that is as wide has values."""
        found, widest = {}, {}
        for key, values in padded.items():
            count, width, _ = values.shape
            own = f"{key}_lengths" if self.has(f"{key}_lengths") else "lengths"
            if self.has(own):
                found[key] = self.counts(own, count, width)
            else:
                widest[width] = np.maximum(widest.get(width, 0), _detected(values))
        return {key: found[key] if key in found else widest[values.shape[1]] for key, values in padded.items()}

    def counts(self, key: str, count: int, most: int) -> np.ndarray:
        """int [N], none over ``most``."""
        values = self.array(key, count)
        if values.dtype.kind not in "iu" or np.any((values < 0) | (values > most)):
            raise self.error(key, f"these are not whole numbers from 0 to {most}")
        return values

    def word_counts(self, lengths: Mapping[str, np.ndarray]) -> np.ndarray:
        """Words of each segment, int [N]: those of word-aligned features, else of the transcript."""
        first = lengths.get("text", next(iter(lengths.values())))
        if self.has("lengths"):
            return self.counts("lengths", len(first), MOST_WORDS)
        if not self.has("raw_text") or all(np.array_equal(found, first) for found in lengths.values()):
            return first
        return np.array([len(said.split()) for said in self.array("raw_text", len(first), kind="text").tolist()])

    def inside(self, key: str, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """bool [N, T], True where a segment has rows: all is zero elsewhere, after them or before them."""
        width = values.shape[1]
        place = np.arange(width)
        for inside in (place < lengths[:, None], place >= width - lengths[:, None]):
            if not values[~inside].any():
                return inside
        raise self.error(
            f"{key}_lengths" if self.has(f"{key}_lengths") else "lengths",
            f"there is {key} beyond these lengths, whether its rows come first or last",
        )

    def rows(self, key: str, inside: np.ndarray, absent: float) -> np.ndarray:
        """Numbers of the rows inside; ``absent`` everywhere where there is no such key."""
        return self.array(key, *inside.shape, absent=np.full(inside.shape, absent))[inside]

    def measured(self, key: str, values: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(values float32 [rows, D], mask bool [rows])"""
        rows, usable = finite(values[inside], self.where, key)
        if not self.has(f"{key}_mask"):
            return rows, usable & rows.any(axis=1)
        return rows, usable & (self.array(f"{key}_mask", *inside.shape)[inside] != 0)

    def columns(self, key: str, name: str) -> tuple[str, ...]:
        width = self.arrays[key].shape[2]
        numbered = np.array([f"{name}_{column}" for column in range(width)], dtype=np.str_)
        return tuple(self.array(f"{key}_columns", width, kind="text", absent=numbered).tolist())

    def by_word(self, counts: np.ndarray) -> np.ndarray:
        """bool [N, W], True where a segment has words, in the arrays of words, starts and ends."""
        longest = counts.max(initial=0)
        width = self.array("words", len(counts), None, kind="text").shape[1] if self.has("words") else longest
        if longest > width:
            raise self.error("words", f"a segment has {longest} words, and here are at most {width}")
        return np.arange(width) < counts[:, None]

    def words(self, by_word: np.ndarray, counts: np.ndarray) -> tuple[str, ...]:
        """As given, else from ``raw_text``."""
        if self.has("words"):
            return tuple(self.arrays["words"][by_word].tolist())
        texts = self.array("raw_text", len(counts), kind="text", absent=np.full(len(counts), "")).tolist()
        words: list[str] = []
        for text, count in zip(texts, counts.tolist(), strict=True):
            tokens = text.split()
            words += tokens if len(tokens) == count else [""] * count
        return tuple(words)

    def pieces(self, count: int) -> dict[str, object]:
        """The feature that ``text_bert`` [N, 3, T] (numbers, mask, types) stands for, part by part of a data set.

        Which word a piece is of, it does not say: each piece is a word of its own, but for the marks at both ends.
        """
        numbers, mask, _ = np.moveaxis(self.array("text_bert", count, 3, None), 1, 0)  # [N, T] each
        lengths = (mask != 0).sum(axis=1)
        inside = np.arange(mask.shape[1]) < lengths[:, None]
        if not np.array_equal(mask, inside):
            raise self.error("text_bert", "its mask (row 1) is not of ones followed by zeros")
        place = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
        words = np.where(place < lengths[:, None] - 1, place, 0)
        values = np.stack([numbers[inside], words[inside]], axis=1).astype(np.float32)  # [P, 2]
        return {
            "features": values,
            "masks": np.ones(len(values), bool),
            "columns": PIECES,
            "frame_offsets": _offsets(lengths),
            "frame_times": np.full(len(values), np.nan),
        }


def _detected(values: np.ndarray) -> np.ndarray:
    """How many rows each segment has, int [N], by the zeros at one end of [N, T, D]: the end that has more of them."""
    filled = (values != 0).any(axis=2)  # [N, T]
    width = values.shape[1]
    first = np.where(filled.any(axis=1), filled.argmax(axis=1), width) if width else np.zeros(len(values), np.int64)
    after = np.where(filled.any(axis=1), filled[:, ::-1].argmax(axis=1), width) if width else first
    return width - (after if after.sum() >= first.sum() else first)
