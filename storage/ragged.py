"""Rows of many segments laid end to end, with an index that says which rows are whose.

Layout of the group: one array a column, all of them R rows long; ``index/`` with one entry for each key in the order of
appending: ``key``, ``length`` (rows), ``sha256`` (of those rows), and for a failure ``reason`` and ``message`` (no
rows). The index carries its own digest. Checksums of chunks do not say whether a chunk is the right one, nor whether
one is absent from a manifest: these digests do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zarr

from storage import arrays
from storage.schema import Failure, StoreError

Rows = dict[str, np.ndarray]
GAP_ROWS = arrays.CHUNK_ROWS // 4
TEXTS = ("key", "sha256", "reason", "message")


@dataclass(frozen=True)
class Index:
    """Who owns which rows; the fields are parallel."""

    key: list[str]
    length: np.ndarray
    sha256: list[str]
    reason: list[str]
    message: list[str]

    @cached_property
    def position(self) -> dict[str, int]:
        return {key: position for position, key in enumerate(self.key)}

    @cached_property
    def stop(self) -> np.ndarray:
        return np.cumsum(self.length)

    def results(self) -> dict[str, Failure | None]:
        """Of each key its failure, or None where it has rows."""
        parts = zip(self.key, self.reason, self.message, strict=True)
        return {key: Failure(reason, message) if reason else None for key, reason, message in parts}

    def arrays(self) -> Rows:
        texts = {name: arrays.text(getattr(self, name)) for name in TEXTS}
        return {"length": self.length, **texts}

    def without_failures(self) -> Index:
        kept = [position for position, reason in enumerate(self.reason) if not reason]
        texts = {name: [getattr(self, name)[i] for i in kept] for name in TEXTS}
        return Index(length=self.length[kept], **texts)


def create(group: zarr.Group, empty: Rows, attributes: Mapping[str, object]) -> None:
    """Lay out a group for rows like those of ``empty`` (columns of no rows)."""
    group.update_attributes({"names": sorted(empty), **attributes})
    arrays.create(group, empty)
    index = Index([], np.zeros(0, np.int64), [], [], [])
    arrays.create(group.create_group("index"), index.arrays())
    _seal(group, index)


def read_index(group: zarr.Group) -> Index:
    """Raises StoreError where the index is not the one that was written."""
    stored = group["index"]
    texts = {name: stored[name][:].tolist() for name in TEXTS}
    index = Index(length=stored["length"][:], **texts)
    if _digest(group, index) != stored.attrs["sha256"]:
        raise StoreError("damaged", f"{group.path}: the index is not the one that was written")
    return index


def append(group: zarr.Group, results: Mapping[str, Rows | Failure]) -> None:
    """Add the rows or the failure of each key; StoreError where a key is there already."""
    index = read_index(group)
    if twice := [key for key in results if key in index.position]:
        raise StoreError("duplicate_key", f"{group.path}: {twice[0]!r} was committed before; nothing was written")
    if nameless := [key for key, result in results.items() if isinstance(result, Failure) and not result.reason]:
        raise StoreError(
            "bad_failure", f"{group.path}: the failure of {nameless[0]!r} has no reason; nothing was written"
        )
    failures = {key: result for key, result in results.items() if isinstance(result, Failure)}
    rows = {key: result for key, result in results.items() if key not in failures}
    if rows:
        arrays.append(group, {name: np.concatenate([own[name] for own in rows.values()]) for name in _names(group)})
    added = Index(
        key=[*rows, *failures],
        length=np.array([len(next(iter(own.values()))) for own in rows.values()] + [0] * len(failures), np.int64),
        sha256=[arrays.digest(own) for own in rows.values()] + [""] * len(failures),
        reason=[""] * len(rows) + [failure.reason for failure in failures.values()],
        message=[""] * len(rows) + [failure.message for failure in failures.values()],
    )
    arrays.append(group["index"], added.arrays())
    parts = {name: getattr(index, name) + getattr(added, name) for name in TEXTS}
    _seal(group, Index(length=np.concatenate([index.length, added.length]), **parts))


def forget_failures(group: zarr.Group) -> None:
    """Drop the failures from the index; the rows stay as they are."""
    index = read_index(group)
    kept = index.without_failures()
    if len(kept.key) < len(index.key):
        arrays.replace(group["index"], kept.arrays())
        _seal(group, kept)


def read(group: zarr.Group, index: Index, keys: Sequence[str]) -> dict[str, Rows]:
    """The rows of each key; StoreError for a key without rows, and where rows are not those that were written."""
    for key in keys:
        position = index.position.get(key)
        if position is None:
            raise StoreError("unknown_key", f"{group.path}: nothing was committed for {key!r}")
        if reason := index.reason[position]:
            raise StoreError("failed_key", f"{group.path}: {key!r} failed ({reason}) and has no rows")
    positions = sorted({index.position[key] for key in keys})
    found = {}
    for run in _runs(index, positions):
        first = index.stop[run[0]] - index.length[run[0]]
        block = {name: group[name][first : index.stop[run[-1]]] for name in _names(group)}
        for position in run:
            stop = index.stop[position] - first
            rows = {name: values[stop - index.length[position] : stop] for name, values in block.items()}
            if arrays.digest(rows) != index.sha256[position]:
                key = index.key[position]
                raise StoreError("damaged", f"{group.path}: the rows of {key!r} are not those that were written")
            found[index.key[position]] = rows
    return {key: found[key] for key in keys}


def digest(group: zarr.Group) -> str:
    """Of everything in the group by key, whatever the order and number of appends; reads and checks every row."""
    index = read_index(group)
    with_rows = [key for key, failure in index.results().items() if failure is None]
    for first in range(0, len(with_rows), 256):
        read(group, index, with_rows[first : first + 256])
    entries = zip(index.key, index.length.tolist(), index.sha256, index.reason, index.message, strict=True)
    return arrays.digest({}, dict(group.attrs), sorted(entries))


def _runs(index: Index, positions: list[int]) -> Iterator[list[int]]:
    """Positions in groups that are read in one go: close enough together for the gap to cost less than a new read."""
    run: list[int] = []
    for position in positions:
        if run and index.stop[position] - index.length[position] - index.stop[run[-1]] > GAP_ROWS:
            yield run
            run = []
        run.append(position)
    if run:
        yield run


def _names(group: zarr.Group) -> list[str]:
    return group.attrs["names"]


def _digest(group: zarr.Group, index: Index) -> str:
    return arrays.digest(index.arrays(), dict(group.attrs))


def _seal(group: zarr.Group, index: Index) -> None:
    group["index"].update_attributes({"sha256": _digest(group, index)})
