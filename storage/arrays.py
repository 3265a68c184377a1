"""Named arrays in a Zarr group: written, lengthened and read whole, with a digest of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

TEXT = np.dtypes.StringDType()
CHUNK_BYTES = 2**20
# one append rewrites the last chunk of every array, so that narrow arrays must not have chunks of a million rows
CHUNK_ROWS = 2**12


def text(strings: Iterable[str]) -> np.ndarray:
    """Strings as a numpy array of variable length, the one kind of text that Zarr 3 keeps."""
    return np.array(list(strings), dtype=TEXT)


def create(group: zarr.Group, arrays: Mapping[str, np.ndarray]) -> None:
    """Write new arrays; a name may be a path within the group."""
    for name, values in arrays.items():
        row_bytes = max(1, values.itemsize * int(np.prod(values.shape[1:])))
        array = group.create_array(
            name,
            shape=(0, *values.shape[1:]),
            dtype="string" if values.dtype == TEXT else values.dtype,
            chunks=(max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes)), *(max(1, size) for size in values.shape[1:])),
            compressors=ZstdCodec(checksum=True),
        )
        if len(values):
            array.append(values)


def append(group: zarr.Group, arrays: Mapping[str, np.ndarray]) -> None:
    """Lengthen arrays that exist."""
    for name, values in arrays.items():
        if len(values):
            group[name].append(values)


def replace(group: zarr.Group, arrays: Mapping[str, np.ndarray]) -> None:
    """Give arrays that exist other rows."""
    for name, values in arrays.items():
        group[name].resize((0, *values.shape[1:]))
        if len(values):
            group[name].append(values)


def digest(arrays: Mapping[str, np.ndarray], *attributes: object) -> str:
    """32 hex digits of the sha256 of names, types, shapes and contents, and of JSON-able attributes."""
    content = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode())
    for name in sorted(arrays):
        values = arrays[name]
        if values.dtype == TEXT:
            content.update(json.dumps([name, values.tolist()]).encode())
        else:
            content.update(json.dumps([name, values.dtype.str, values.shape]).encode())
            content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()[:32]
