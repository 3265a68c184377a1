"""FeatureStore: one Icechunk repository a data set.

Groups of flat arrays, as ``storage.arrays``, ``storage.ragged`` and ``storage.aligned`` lay them out:

    segments/                       the segment table
    words/<fingerprint>/            word strings and times of each segment
    features/<name>/<fingerprint>/  values, times and mask of each segment
    aligned/<fingerprint>/          a word-aligned data set

A call that writes is one atomic commit on the branch ``staging``; ``main`` moves by ``publish`` alone. One process at a
time commits: on a local disk Icechunk cannot keep two committers apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import zarr

from storage import aligned, arrays, ragged, schema
from storage.repository import Repository, create_group, has
from storage.schema import AlignedDataset, Failure, Frames, StoreError, Word
from storage.segments import Segment, from_arrays, table_digest, to_arrays

WORD_FIELDS = {"text": arrays.TEXT, "start": "f8", "end": "f8", "confidence": "f8", "source": arrays.TEXT}


@dataclass(frozen=True)
class Published:
    """A data set that passed validation: its snapshot, the tag of that snapshot, and its fingerprint."""

    snapshot: str
    tag: str
    fingerprint: str


class FeatureStore:
    """What is known of one data set: only what was committed, checked against its digest at every reading.

    Every method raises StoreError. ``at`` is ``staging``, ``main``, a tag or the id of a snapshot.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._indexes: dict[str, tuple[str, ragged.Index]] = {}

    @classmethod
    def open(cls, url: str, create: bool = True) -> FeatureStore:
        """The store at ``url`` (a path or ``s3://bucket/prefix``); where it is absent it is made, if ``create``."""
        return cls(Repository(str(url), create))

    @contextmanager
    def coordinating(self) -> Iterator[None]:
        """Keep every other process from committing; StoreError names the one that does. Writing takes it itself."""
        with self._repository.lock():
            yield

    def write_segments(self, segments: Sequence[Segment], source: Mapping[str, Any] | None = None) -> None:
        """Make this the segment table, with what it was made of; nothing is committed where it is that already.

        ``source`` is JSON-able.
        """
        origin = json.dumps(source or {}, sort_keys=True)
        table = to_arrays(segments)
        sha256 = arrays.digest(table)
        with self._repository.commit(f"write {len(segments)} segments") as root:
            if has(root, "segments"):
                attributes = root["segments"].attrs
                if (attributes["sha256"], attributes.get("source")) == (sha256, origin):
                    return
            group = create_group(root, "segments")
            group.update_attributes({"names": list(table), "sha256": sha256, "source": origin})
            arrays.create(group, table)

    def segments(self, at: str = "staging") -> list[Segment]:
        """The segment table; empty where none was written."""
        return self._repository.read("segments", at, _read_segments, absent=[])

    def source(self, at: str = "staging") -> dict[str, Any]:
        """What the segment table was made of; empty where nobody said."""
        return self._repository.read("segments", at, _read_source, absent={})

    def done(self, feature: str, fingerprint: str) -> dict[str, Failure | None]:
        """Of each key that was treated its failure, or None where there are values; ``feature`` may be ``words``."""
        path = _path(feature, fingerprint)
        return self._repository.read(path, "staging", lambda group: ragged.read_index(group).results(), absent={})

    def append(
        self, feature: str, recipe: dict, columns: Sequence[str], results: Mapping[str, Frames | Failure]
    ) -> None:
        """Commit the values or the failure of each key, all at once; refused where a key is done already."""
        if feature == "words":
            raise StoreError("bad_name", "a feature cannot be named words: these have their own append_words")
        width = len(columns)
        rows = {
            key: result if isinstance(result, Failure) else _frames_rows(result, width, f"{feature} of {key!r}")
            for key, result in results.items()
        }
        empty = _frames_rows(Frames(np.zeros((0, width)), np.zeros(0), np.zeros(0)), width, feature)
        self._append(feature, recipe, {"columns": list(columns)}, rows, empty)

    def append_words(self, recipe: dict, results: Mapping[str, tuple[Word, ...] | Failure]) -> None:
        """Commit the words or the failure of each key, all at once; refused where a key is done already."""
        rows = {key: result if isinstance(result, Failure) else _words_rows(result) for key, result in results.items()}
        self._append("words", recipe, {}, rows, _words_rows(()))

    def frames(self, feature: str, fingerprint: str, keys: Sequence[str]) -> dict[str, Frames]:
        """The committed values of these keys."""
        return {key: Frames(**rows) for key, rows in self._rows(_path(feature, fingerprint), keys).items()}

    def words(self, fingerprint: str, keys: Sequence[str]) -> dict[str, tuple[Word, ...]]:
        """The committed words of these keys."""
        found = self._rows(_path("words", fingerprint), keys)
        return {key: tuple(map(Word, *(rows[name].tolist() for name in WORD_FIELDS))) for key, rows in found.items()}

    def forget_failures(self, feature: str, fingerprint: str) -> None:
        """Drop the failures, so that a rerun tries those keys again."""
        path = _path(feature, fingerprint)
        with self._repository.commit(f"forget the failures of {path}") as root:
            if has(root, path):
                ragged.forget_failures(root[path])

    def write_aligned(self, recipe: dict, dataset: AlignedDataset, source: Mapping[str, Any] | None = None) -> str:
        """Commit a data set and return its recipe's fingerprint; nothing is committed where it is there already.

        ``source`` (JSON-able) says of an imported data set what a report should tell of where it is from.
        """
        fingerprint = schema.fingerprint(recipe)
        path = _aligned_path(fingerprint)
        for feature in dataset.features:
            _path(feature, fingerprint)
        with self._repository.commit(f"write {path}") as root:
            if not has(root, path):
                origin = json.dumps(source or {}, sort_keys=True)
                aligned.create(create_group(root, path), dataset, {"recipe": recipe, "source": origin})
            elif root[path].attrs["sha256"] != aligned.digest(dataset):
                raise StoreError("recipe_reused", f"{path} holds other data: a recipe must name all that goes into it")
        return fingerprint

    def aligned(self, fingerprint: str, at: str = "main") -> AlignedDataset:
        """A committed data set."""
        return self._repository.read(_aligned_path(fingerprint), at, aligned.read)

    def has_aligned(self, fingerprint: str) -> bool:
        """Whether this data set was written."""
        return self._repository.read(_aligned_path(fingerprint), "staging", lambda group: True, absent=False)

    def aligned_source(self, fingerprint: str) -> dict[str, Any]:
        """What is known of where an imported data set is from; empty where nobody said."""
        return self._repository.read(_aligned_path(fingerprint), "staging", _read_source)

    def recipe(self, feature: str, fingerprint: str) -> dict:
        """What these results were made by; ``feature`` may be ``words`` or ``aligned``."""
        path = _aligned_path(fingerprint) if feature == "aligned" else _path(feature, fingerprint)
        return self._repository.read(path, "staging", lambda group: group.attrs["recipe"])

    def publish(self, fingerprint: str) -> Published:
        """Move ``main`` to staging and tag it with the data set's name; nothing where ``main`` publishes it already."""
        path = _aligned_path(fingerprint)
        with self.coordinating():
            current = self.published()
            if current is not None and current.fingerprint == fingerprint:
                return current
            staged = self.published("staging")  # there is one where a publication was cut short after its commit
            if staged is None or staged.fingerprint != fingerprint:
                self._repository.read(path, "staging", lambda group: group.attrs["sha256"])
                tag = self._repository.free_tag(f"aligned-{fingerprint}")
                with self._repository.commit(f"publish {tag}", {"tag": tag, "fingerprint": fingerprint}) as root:
                    root.update_attributes({"published": tag})
                staged = self.published("staging")
            self._repository.move_main(staged.snapshot, staged.tag)
            return staged

    def published(self, at: str = "main") -> Published | None:
        """What this very snapshot published; None where it published nothing."""
        return _published(self._repository.snapshot(at))

    def published_before(self, fingerprint: str) -> Published | None:
        """The last data set that was published, other than this one; None where there was none."""
        found = map(_published, self._repository.history("main"))
        return next((one for one in found if one is not None and one.fingerprint != fingerprint), None)

    def digest(self, at: str = "staging") -> str:
        """Of all committed data by key, whatever the order and number of commits; reads and checks everything."""
        kinds = {"segments": _segments_digest, "aligned": _aligned_digest}
        digests = {
            path: self._repository.read(path, at, kinds.get(path.split("/")[0], ragged.digest))
            for path in self._repository.paths(at)
        }
        return arrays.digest({}, digests)

    def _append(self, feature: str, recipe: dict, attributes: dict, rows: Mapping, empty: ragged.Rows) -> None:
        if not rows:
            return
        path = _path(feature, schema.fingerprint(recipe))
        with self._repository.commit(f"append {len(rows)} to {path}") as root:
            if not has(root, path):
                ragged.create(create_group(root, path), empty, {"recipe": recipe, **attributes})
            group = root[path]
            if group.attrs.get("columns") != attributes.get("columns"):
                raise StoreError("columns_changed", f"{path} has other columns: a recipe must tell them apart")
            ragged.append(group, rows)

    def _rows(self, path: str, keys: Sequence[str]) -> dict[str, ragged.Rows]:
        def read(group: zarr.Group) -> dict[str, ragged.Rows]:
            # a snapshot never changes: whoever reads segment by segment needs its index once
            snapshot = group.store.session.snapshot_id
            if self._indexes.get(path, ("",))[0] != snapshot:
                self._indexes[path] = snapshot, ragged.read_index(group)
            return ragged.read(group, self._indexes[path][1], keys)

        return self._repository.read(path, "staging", read)


def _published(snapshot: icechunk.SnapshotInfo) -> Published | None:
    if "tag" not in snapshot.metadata:
        return None
    return Published(snapshot.id, snapshot.metadata["tag"], snapshot.metadata["fingerprint"])


def _path(feature: str, fingerprint: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", feature):
        raise StoreError("bad_name", f"a feature's name is a-z, 0-9 and _, not {feature!r}")
    folder = "words" if feature == "words" else f"features/{feature}"
    return f"{folder}/{_checked(fingerprint)}"


def _aligned_path(fingerprint: str) -> str:
    return f"aligned/{_checked(fingerprint)}"


def _checked(fingerprint: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{16}", fingerprint):
        raise StoreError("bad_name", f"a fingerprint is 16 hex digits, not {fingerprint!r}")
    return fingerprint


def _read_segments(group: zarr.Group) -> list[Segment]:
    table = {name: group[name][:] for name in group.attrs["names"]}
    if arrays.digest(table) != group.attrs["sha256"]:
        raise StoreError("damaged", "the segment table is not the one that was written")
    return from_arrays(table)


def _read_source(group: zarr.Group) -> dict[str, Any]:
    return json.loads(group.attrs.get("source", "{}"))


def _segments_digest(group: zarr.Group) -> str:
    return table_digest(_read_segments(group))


def _aligned_digest(group: zarr.Group) -> str:
    return arrays.digest({}, aligned.digest(aligned.read(group)), group.attrs["recipe"])


def _frames_rows(frames: Frames, width: int, what: str) -> ragged.Rows:
    rows = {
        "values": np.asarray(frames.values, np.float32),
        "times": np.asarray(frames.times, np.float64),
        "mask": np.asarray(frames.mask, bool),
    }
    count = len(rows["values"])
    if [values.shape for values in rows.values()] != [(count, width), (count,), (count,)]:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in rows.items())
        raise StoreError("bad_shape", f"{what}: {shapes} are not rows of {width} columns; nothing was written")
    return rows


def _words_rows(words: Sequence[Word]) -> ragged.Rows:
    return {name: np.array([getattr(word, name) for word in words], dtype) for name, dtype in WORD_FIELDS.items()}
