"""Data sets as plain Zarr groups (version 3), as ``storage.aligned`` lays them out: any Zarr library reads them."""

from __future__ import annotations

import warnings
from pathlib import Path

import zarr
from zarr.errors import ZarrUserWarning

from storage import aligned
from storage.schema import AlignedDataset, StoreError


def read_zarr(path: Path, text: str) -> AlignedDataset:
    """A data set, if its numbers are those that were written; its features keep their names, whatever ``text`` is.

    Raises StoreError.
    """
    try:
        return aligned.read(zarr.open_group(path, mode="r"))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as cause:
        raise StoreError("unreadable", f"{path} is no Zarr group of a data set: {cause!r}") from cause


def write_zarr(dataset: AlignedDataset, path: Path, text: str) -> None:
    """Write a data set, of which ``read_zarr`` makes the same again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # that text has no specification yet
        aligned.create(zarr.open_group(path, mode="w-"), dataset, {})
