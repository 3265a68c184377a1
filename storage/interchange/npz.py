"""The field's word-aligned feature files: padded arrays in a NumPy archive, one split a file.

Keys: ``text``, ``vision``, ``audio`` float [N, T, D], zero beyond the words of a segment (after them or before them);
``lengths`` int [N]; ``id`` (``video$_$clip``); ``regression_labels`` and ``raw_text`` where there are any. What that
layout has no place for is written under further keys: ``words``, ``starts``, ``ends`` [N, T], ``splits`` [N], and for
each feature ``<name>_mask`` [N, T] and ``<name>_columns`` [D].
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from storage.schema import AlignedDataset, StoreError

SEPARATOR = "$_$"
KINDS = {"numbers": "biuf", "text": "U"}
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, text: str = "glove") -> AlignedDataset:
    """A data set from a file; its ``text`` array becomes the feature that is named so.

    Every array of three dimensions is a feature. Where the file names no columns they are ``vision_0``, ... ; where it
    has no masks, rows of zeros count as not measured; words come from ``raw_text`` where that has as many as the
    segment has rows, and are empty strings elsewhere. Never unpickles. Raises StoreError, naming the key.
    """
    archive = _Archive(Path(path))
    padded = archive.features()
    count = len(next(iter(padded.values())))
    ids = archive.ids(count)
    lengths = archive.array("lengths", count)
    inside = archive.inside(padded, lengths)
    features = {text if key == "text" else key: values[inside].astype(np.float32) for key, values in padded.items()}
    rows = int(lengths.sum())

    def by_word(key: str, absent: np.ndarray, kind: str = "numbers") -> np.ndarray:
        return archive.array(key, *inside.shape, kind=kind)[inside] if key in archive.arrays else absent

    def columns(name: str, width: int) -> tuple[str, ...]:
        numbered = np.array([f"{name}_{column}" for column in range(width)], dtype=np.str_)
        return tuple(archive.array(f"{name}_columns", width, kind="text", absent=numbered).tolist())

    return AlignedDataset(
        ids=ids,
        videos=tuple(name.rsplit(SEPARATOR, 1)[0] for name in ids),
        labels=archive.array("regression_labels", count, absent=np.full(count, np.nan)).astype(np.float32),
        splits=tuple(archive.array("splits", count, kind="text", absent=np.full(count, "")).tolist()),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        words=tuple(by_word("words", archive.words(lengths), "text").tolist()),
        starts=by_word("starts", np.full(rows, np.nan)),
        ends=by_word("ends", np.full(rows, np.nan)),
        features=features,
        masks={name: by_word(f"{name}_mask", values.any(axis=1)) for name, values in features.items()},
        columns={name: columns(name, values.shape[1]) for name, values in features.items()},
    )


def write_npz(dataset: AlignedDataset, path: Path, text: str = "glove") -> None:
    """Write a data set, padded with zeros after the words; the feature that is named as ``text`` says becomes ``text``.

    ``read_npz`` gives the same data set again. The file appears whole or not at all.
    """
    lengths = np.diff(dataset.offsets)
    width = int(lengths.max(initial=0))
    inside = np.arange(width) < lengths[:, None]

    def pad(values: np.ndarray) -> np.ndarray:
        padded = np.zeros((*inside.shape, *values.shape[1:]), values.dtype)
        padded[inside] = values
        return padded

    parts = zip(dataset.offsets, dataset.offsets[1:], strict=False)
    found = {
        "id": np.array(dataset.ids, dtype=np.str_),
        "lengths": lengths,
        "regression_labels": dataset.labels,
        "raw_text": np.array([" ".join(dataset.words[first:stop]) for first, stop in parts], dtype=np.str_),
        "splits": np.array(dataset.splits, dtype=np.str_),
        "words": pad(np.array(dataset.words, dtype=np.str_)),
        "starts": pad(dataset.starts),
        "ends": pad(dataset.ends),
    }
    for name, values in dataset.features.items():
        found["text" if name == text else name] = pad(values)
        found[f"{name}_mask"] = pad(dataset.masks[name])
        found[f"{name}_columns"] = np.array(dataset.columns[name], dtype=np.str_)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **found)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


class _Archive:
    """The arrays of one file by key, each checked as it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays = {}
        try:
            with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
                for key in archive.files:
                    self.arrays[key] = self._load(archive, key)
        except UNREADABLE as cause:
            raise StoreError("unreadable", f"{path} is not a NumPy archive (.npz): {cause}") from cause

    def _load(self, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        try:
            return archive[key]
        except UNREADABLE as cause:
            raise self.error(key, str(cause)) from cause

    def error(self, key: str, message: str) -> StoreError:
        return StoreError("unreadable", f"{self.path}, key {key!r}: {message}")

    def array(
        self, key: str, *shape: int | None, kind: str = "numbers", absent: np.ndarray | None = None
    ) -> np.ndarray:
        """The array of this shape (None: any size) and kind; ``absent`` where the file has no such key, if given."""
        values = self.arrays.get(key, absent)
        if values is None:
            raise self.error(key, f"absent; the file has {', '.join(sorted(self.arrays)) or 'no arrays'}")
        fits = values.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, values.shape, strict=True)
        )
        if not fits:
            raise self.error(
                key, f"its shape is {values.shape}, {tuple('any' if n is None else n for n in shape)} expected"
            )
        if values.dtype.kind not in KINDS[kind]:
            raise self.error(key, f"its type is {values.dtype}, {kind} expected")
        return values

    def ids(self, count: int) -> tuple[str, ...]:
        ids = self.array("id", count, kind="text").tolist()
        for row, name in enumerate(ids):
            if SEPARATOR not in name:
                raise self.error("id", f"entry {row} is {name!r}, not video{SEPARATOR}clip")
        return tuple(ids)

    def features(self) -> dict[str, np.ndarray]:
        """Float [N, T, D], all of one N and T."""
        found = {key: values for key, values in self.arrays.items() if values.ndim == 3 and values.dtype.kind == "f"}
        if not found:
            raise self.error("text", "neither this nor any other key holds features [N, T, D]")
        count, width, _ = next(iter(found.values())).shape
        return {key: self.array(key, count, width, None) for key in found}

    def inside(self, padded: dict[str, np.ndarray], lengths: np.ndarray) -> np.ndarray:
        """bool [N, T], True where there are words: all features are zero elsewhere, after the words or before them."""
        width = next(iter(padded.values())).shape[1]
        if lengths.dtype.kind not in "iu" or not np.all((lengths >= 0) & (lengths <= width)):
            raise self.error("lengths", f"these are not whole numbers from 0 to {width}")
        place = np.arange(width)
        for inside in (place < lengths[:, None], place >= width - lengths[:, None]):
            if not any(values[~inside].any() for values in padded.values()):
                return inside
        raise self.error("lengths", "there are features beyond these lengths, whether the words come first or last")

    def words(self, lengths: np.ndarray) -> np.ndarray:
        """One a row, from ``raw_text``."""
        texts = self.array("raw_text", len(lengths), kind="text", absent=np.full(len(lengths), "")).tolist()
        words: list[str] = []
        for text, length in zip(texts, lengths, strict=True):
            tokens = text.split()
            words += tokens if len(tokens) == length else [""] * length
        return np.array(words, dtype=np.str_)
