"""Data sets as NumPy archives: the arrays of ``storage.interchange.padded``, all splits in one file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from storage.interchange import padded
from storage.schema import AlignedDataset, StoreError

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, text: str = "glove") -> AlignedDataset:
    """A data set; its array ``text`` becomes the feature that ``text`` names.

    Never unpickles. Raises StoreError, naming the key.
    """
    return padded.read(_load(Path(path)), str(path), text)


def write_npz(dataset: AlignedDataset, path: Path, text: str = "glove") -> None:
    """Write a data set, of which ``read_npz`` makes the same again."""
    with path.open("wb") as file:
        np.savez_compressed(file, **padded.write(dataset, text))


def _load(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            for key in archive.files:
                try:
                    arrays[key] = archive[key]
                except UNREADABLE as cause:
                    raise StoreError("unreadable", f"{path}, key {key!r}: {cause}") from cause
    except UNREADABLE as cause:
        raise StoreError("unreadable", f"{path} is not a NumPy archive (.npz): {cause}") from cause
    return arrays
