"""Pickles of the field: MMSA's, MulT's and MISA's are read, MMSA's are written.

MMSA and MulT pickle a dict of splits, each a dict of padded arrays; MISA lists of
((words, visual, acoustic, actual_words), label, segment), a split a file. ``docs/interchange.md`` lists the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from storage.interchange import padded
from storage.interchange.padded import SEPARATOR
from storage.interchange.safe_pickle import Array, dump, load
from storage.schema import AlignedDataset, StoreError, join

SPLITS = {"train": "train", "valid": "valid", "dev": "valid", "val": "valid", "test": "test"}
"""What files call their splits, and we."""
CLASSES = {"Negative": 0, "Neutral": 1, "Positive": 2}


def read_pickle(path: Path, text: str) -> AlignedDataset:
    """A data set; the array ``text`` becomes the feature that ``text`` names.

    MMSA's ``text_bert`` becomes the feature ``pieces``. Raises StoreError, naming the split and the key, and what a
    pickle asks to be called: nothing is.
    """
    path = Path(path)
    content = load(path)
    if isinstance(content, list):
        return _misa(content, str(path))
    if not isinstance(content, dict) or not content:
        raise StoreError("unreadable", f"{path} holds neither splits nor segments, but a {type(content).__name__}")
    parts, positions = [], []
    for split, values in content.items():
        where = f"{path}, split {split!r}"
        if isinstance(values, list):
            part = _misa(values, where)
        elif isinstance(values, dict):
            arrays = _arrays(values, where, path.stat().st_size)
            part = padded.read(arrays, where, text)
            positions += arrays.get("position", np.zeros(0, np.int64)).ravel().tolist()
        else:
            raise StoreError("unreadable", f"{where}: {type(values).__name__} found, arrays by name expected")
        parts.append(replace(part, splits=(SPLITS.get(split, str(split)),) * len(part.ids)))
    try:
        dataset = join(parts)
    except ValueError as cause:
        raise StoreError("unreadable", f"{path}: of the splits, {cause}") from cause
    ordered = sorted(positions) == list(range(len(dataset.ids)))
    return dataset.take(np.argsort(positions)) if ordered and positions else dataset


def write_mmsa(dataset: AlignedDataset, path: Path, text: str) -> None:
    """Write a data set as MMSA's pickle, of which ``read_pickle`` makes the same again.

    Beside MMSA's keys it has those of ``padded``, and ``position``, the order of the segments over all splits. What
    has no label is of class -1 and without annotation. All splits are padded to one length.
    """
    arrays = padded.write(dataset, text)
    signs = np.sign(dataset.labels)  # NaN where there is no label
    names = np.array([*CLASSES, ""])
    classes = np.where(np.isfinite(signs), np.nan_to_num(signs) + 1, -1).astype(np.int64)
    arrays |= {"classification_labels": classes, "annotations": names[classes], "position": np.arange(len(classes))}
    if "pieces" in dataset.features:
        arrays["text_bert"] = padded.text_bert(dataset)
    splits = arrays.pop("splits")
    content = {
        split: {key: values if key.endswith("_columns") else values[splits == split] for key, values in arrays.items()}
        for split in dict.fromkeys((*(name for name in ("train", "valid", "test") if name in splits), *splits.tolist()))
    }
    dump(content, path)


def _arrays(values: Mapping[str, Any], where: str, most_bytes: int) -> dict[str, np.ndarray]:
    """MMSA's or MulT's arrays under the names of ``padded``."""
    arrays = {}
    for key, value in values.items():
        array = _array(value, f"{where}, key {key!r}", most_bytes)
        if array is not None:
            arrays[str(key)] = array
    if "labels" in arrays and "regression_labels" not in arrays:  # MulT's, [N, 1, 1]
        labels = arrays.pop("labels")
        arrays["regression_labels"] = labels.reshape(len(labels), -1)[:, 0]
    if "id" in arrays:
        arrays["id"] = _ids(arrays["id"])
    return arrays


def _array(value: Any, where: str, most_bytes: int) -> np.ndarray | None:
    """An array of numbers or text; of a list, too; None for what is neither.

    ``most_bytes``: no list of arrays is larger than the file that it is from, unless it repeats itself.
    """
    if isinstance(value, Array):
        if value.values.dtype.kind != "O":
            return _text(value.values)
        shape, value = value.values.shape, value.values.ravel().tolist()
    elif isinstance(value, list):
        shape = (len(value),)
    else:
        return None
    if value and all(isinstance(item, Array) for item in value):
        parts = [item.values for item in value]
        if len({(part.shape, part.dtype.kind) for part in parts}) > 1 or parts[0].dtype.kind == "O":
            raise StoreError("unreadable", f"{where}: a list of arrays of unlike shapes; padded ones are expected")
        if sum(part.nbytes for part in parts) > most_bytes:
            raise StoreError("unreadable", f"{where}: a list of arrays that are larger than the file")
        return _text(np.stack(parts)).reshape(*shape, *parts[0].shape)
    if all(isinstance(item, str | bytes) for item in value):
        return np.array([_decoded(item) for item in value], dtype=np.str_).reshape(shape)
    if all(isinstance(item, bool | int | float) for item in value):
        return np.array(value).reshape(shape)
    return None


def _text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "S":
        return values
    return np.array([_decoded(item) for item in values.ravel().tolist()], dtype=np.str_).reshape(values.shape)


def _decoded(item: str | bytes) -> str:
    return item if isinstance(item, str) else item.decode("utf-8", errors="replace")


def _ids(ids: np.ndarray) -> np.ndarray:
    """``video$_$clip`` of each form that the field has: that, ``video[clip]``, or MulT's (video, start, end)."""
    rows = ids.reshape(len(ids), -1).tolist()
    return np.array([_id(*row) if 1 <= len(row) <= 3 else "" for row in rows], dtype=np.str_)


def _id(video: Any, *times: Any) -> str:
    if times:
        return f"{video}{SEPARATOR}{'_'.join(map(str, times))}"
    numbered = re.fullmatch(r"(.+)\[(\d+)\]", str(video))
    return f"{numbered[1]}{SEPARATOR}{numbered[2]}" if numbered else str(video)


def _misa(segments: list, where: str) -> AlignedDataset:
    """Of MISA's segments the words, vision and audio; its words' numbers are of a vocabulary that lies elsewhere."""
    rows = [_misa_segment(segment, f"{where}, segment {place}") for place, segment in enumerate(segments)]
    if not rows:
        raise StoreError("unreadable", f"{where}: no segments")
    ids, labels, words, *features = zip(*rows, strict=True)
    counts = [len(spoken) for spoken in words]
    try:
        rows_of = {name: np.concatenate(own) for name, own in zip(("vision", "audio"), features, strict=True)}
    except ValueError as cause:
        raise StoreError("unreadable", f"{where}: segments have unlike columns: {cause}") from cause
    values = {name: padded.finite(own, where, name)[0] for name, own in rows_of.items()}
    total = sum(counts)
    return AlignedDataset(
        ids=ids,
        videos=tuple(name.rsplit(SEPARATOR, 1)[0] for name in ids),
        labels=np.array(labels, np.float32),
        splits=("",) * len(ids),
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        words=tuple(chain.from_iterable(words)),
        starts=np.full(total, np.nan),
        ends=np.full(total, np.nan),
        features=values,
        masks={name: own.any(axis=1) for name, own in values.items()},
        columns={name: tuple(f"{name}_{column}" for column in range(own.shape[1])) for name, own in values.items()},
    )


def _misa_segment(segment: Any, where: str) -> tuple[str, float, tuple[str, ...], np.ndarray, np.ndarray]:
    """(id, label, words, vision [W, D], audio [W, D])"""
    try:
        (_, visual, acoustic, words), label, name = segment
        vision, audio = (part.values.astype(np.float32) for part in (visual, acoustic))
        score = float(label.values.ravel()[0])
        spoken = tuple(_decoded(word) for word in (words.values.tolist() if isinstance(words, Array) else words))
    except (TypeError, ValueError, AttributeError, IndexError) as cause:
        raise StoreError(
            "unreadable", f"{where}: ((words, visual, acoustic, actual_words), label, segment) expected: {cause}"
        ) from cause
    if not (len(spoken) == len(vision) == len(audio) and vision.ndim == audio.ndim == 2):
        raise StoreError(
            "unreadable", f"{where}: {len(spoken)} words with vision {vision.shape} and audio {audio.shape}"
        )
    found = _id(_decoded(name) if isinstance(name, str | bytes) else "")
    if SEPARATOR not in found:
        raise StoreError("unreadable", f"{where}: its name is {found!r}, not video[clip] or video{SEPARATOR}clip")
    return found, score, spoken, vision, audio
