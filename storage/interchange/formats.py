"""Every format that data sets come in and go out as, one line each; files are told apart by their content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from storage.interchange.csd_alignment import read_csds
from storage.interchange.huggingface import read_huggingface, write_huggingface
from storage.interchange.npz import read_npz, write_npz
from storage.interchange.pickles import SPLITS, read_pickle, write_mmsa
from storage.interchange.zarr_group import read_zarr, write_zarr
from storage.schema import AlignedDataset, StoreError, join

Reader = Callable[[Path, str], AlignedDataset]
Writer = Callable[[AlignedDataset, Path, str], None]


@dataclass(frozen=True)
class Format:
    """A format: how its files begin, or a pattern of what its folders hold; how it is read and, if so, written."""

    begins: bytes | None
    holds: str | None
    read: Reader
    write: Writer | None = None


def _read_csd_folder(path: Path, text: str) -> AlignedDataset:
    return read_csds(sorted(path.glob("*.csd")), text)


FORMATS = {
    "npz": Format(b"PK\x03\x04", None, read_npz, write_npz),
    "mmsa": Format(b"\x80", None, read_pickle, write_mmsa),
    "csd": Format(None, "*.csd", _read_csd_folder),
    "zarr": Format(None, "zarr.json", read_zarr, write_zarr),
    "huggingface": Format(None, "data/*.parquet", read_huggingface, write_huggingface),
}
WRITTEN = tuple(name for name, form in FORMATS.items() if form.write)


def read(path: Path, text: str) -> AlignedDataset:
    """The data set in a file or folder of any format; its text features are those that ``text`` names (glove, bert).

    A folder may also hold one file a split: ``train``, ``valid`` (or ``dev``, ``val``) and ``test``. Raises StoreError.
    """
    form = detect(path)
    if form is not None:
        return form.read(path, text)
    files = {file: SPLITS[file.stem] for file in sorted(path.iterdir()) if file.stem in SPLITS} if path.is_dir() else {}
    if not files:
        raise StoreError(
            "unknown_format",
            f"{path} is of no format that is read: {', '.join(FORMATS)}, or a folder with a file a split",
        )
    parts = []
    for file, split in files.items():
        part = read(file, text)
        parts.append(replace(part, splits=(split,) * len(part.ids)))
    try:
        return join(parts)
    except ValueError as cause:
        raise StoreError("unreadable", f"{path}: of the splits, {cause}") from cause


def write(dataset: AlignedDataset, path: Path, form: str, text: str) -> None:
    """Write a data set where there is nothing yet: all of it or nothing. ``text`` names what becomes its text features.

    Raises StoreError.
    """
    if path.exists():
        raise StoreError("exists", f"{path} is there already: name another file, or move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        FORMATS[form].write(dataset, unfinished, text)
        os.rename(unfinished, path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


def detect(path: Path) -> Format | None:
    """The format of a file or folder by what is in it; None where it is of none."""
    if path.is_dir():
        return next((form for form in FORMATS.values() if form.holds and any(path.glob(form.holds))), None)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        beginning = file.read(8)
    return next((form for form in FORMATS.values() if form.begins and beginning.startswith(form.begins)), None)
