"""Computational sequences of the CMU-MultimodalSDK: HDF5 files (.csd), one feature of many videos a file.

Layout, as the SDK's ``computational_sequence/file_ops.py`` writes it: ``<root name>/data/<video>/intervals`` [n, 2] in
seconds of the full video, ``<root name>/data/<video>/features`` [n, D], numbers or byte strings (words), and
``<root name>/metadata/<key>`` with one JSON text each.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from storage.schema import StoreError

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises on damaged files."""
DEFLATE = 1100
"""No chunk that HDF5 compressed is larger than this many times its size in the file (deflate reaches 1032)."""


@dataclass(frozen=True)
class ComputationalSequence:
    """One feature of many videos: ``intervals`` float64 [n, 2] in seconds of the video, ``features`` [n, D], by video.

    ``features`` are numbers, or strings where the sequence is of words. ``columns`` are the D names that the file gives
    its columns; empty where it gives none, or not D.
    """

    name: str
    intervals: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    columns: tuple[str, ...] = ()


def read_csd(path: Path) -> ComputationalSequence:
    """The computational sequence in a file; of an aligned one (``video[3]``), every key as it stands.

    Raises StoreError, naming the file and the key. Nothing but this file is read, whatever its links say.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            return _sequence(path, file)
    except UNREADABLE as cause:
        raise StoreError("unreadable", f"{path} is not a computational sequence (.csd, HDF5): {cause}") from cause


def _sequence(path: Path, file: h5py.File) -> ComputationalSequence:
    if len(file) != 1:
        raise StoreError("unreadable", f"{path}: one group expected, not {len(file)}: {', '.join(list(file)[:5])}")
    (name,) = file
    root = _own(path, file, name, h5py.Group)
    data = _own(path, root, "data", h5py.Group)
    intervals, features = {}, {}
    for key in data:
        entry = _own(path, data, key, h5py.Group)
        intervals[key] = _numbers(path, entry, "intervals")
        features[key] = _numbers_or_words(path, entry, "features")
        if intervals[key].shape != (len(features[key]), 2) or not np.isfinite(intervals[key]).all():
            raise _error(
                path, entry, f"{len(features[key])} features with intervals {intervals[key].shape}, "
                "finite ones of start and end expected, one a feature",
            )  # fmt: skip
    widths = {values.shape[1] for values in features.values()}
    if len(widths) > 1 or len({values.dtype.kind == "U" for values in features.values()}) > 1:
        raise _error(path, data, f"features of unlike widths or types: {sorted(widths)} columns")
    columns = _dimension_names(path, root)
    return ComputationalSequence(name, intervals, features, columns if widths == {len(columns)} else ())


def _own(path: Path, group: h5py.Group, key: str, kind: type) -> h5py.Group | h5py.Dataset:
    """What lies under a key of a group in this very file."""
    if not isinstance(group.get(key, getlink=True, default=None), h5py.HardLink):
        raise _error(path, group, f"no {key!r} of its own")
    try:
        found = group[key]
    except UNREADABLE as cause:
        raise _error(path, group, f"{key!r} cannot be read: {cause}") from cause
    if not isinstance(found, kind):
        raise _error(path, group, f"{key!r} is no {kind.__name__.lower()}")
    return found


def _numbers(path: Path, group: h5py.Group, key: str) -> np.ndarray:
    """float64 [n, D]"""
    values = _numbers_or_words(path, group, key)
    if values.dtype.kind == "U":
        raise _error(path, group, f"{key!r} are words, numbers expected")
    return values.astype(np.float64)


def _numbers_or_words(path: Path, group: h5py.Group, key: str) -> np.ndarray:
    dataset = _own(path, group, key, h5py.Dataset)
    if dataset.external or dataset.is_virtual:
        raise _error(path, group, f"{key!r} lies in another file")
    words = dataset.dtype.kind == "S" or h5py.check_string_dtype(dataset.dtype) is not None
    if not words and dataset.dtype.kind not in "biuf":
        raise _error(path, group, f"{key!r} are {dataset.dtype}, numbers or words expected")
    if dataset.shape is None or not dataset.ndim:
        raise _error(path, group, f"{key!r} has no rows")
    if dataset.nbytes > DEFLATE * dataset.id.get_storage_size():
        raise _error(path, group, f"{key!r} claims {dataset.nbytes} bytes, more than the file can hold")
    try:
        values = dataset.asstr("utf-8")[:] if words else dataset[:]
    except UNREADABLE as cause:
        raise _error(path, group, f"{key!r} cannot be read: {cause}") from cause
    return (values.astype(np.str_) if words else values).reshape(len(values), math.prod(values.shape[1:]))


def _dimension_names(path: Path, root: h5py.Group) -> tuple[str, ...]:
    """What the metadata calls the columns; the files of the SDK's server often say something else there, or nothing."""
    metadata = _own(path, root, "metadata", h5py.Group) if "metadata" in root else {}
    if "dimension names" not in metadata:
        return ()
    text = _numbers_or_words(path, metadata, "dimension names").ravel().tolist()
    try:
        names = json.loads(text[0])
    except UNREADABLE:
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _error(path: Path, group: h5py.Group, message: str) -> StoreError:
    return StoreError("unreadable", f"{path}, key {group.name!r}: {message}")
