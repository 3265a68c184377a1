"""FeatureStore: one Icechunk repository a data set.

Groups of flat arrays, as ``storage.arrays``, ``storage.ragged`` and ``storage.aligned`` lay them out::

    segments/                       the segment table
    words/<fingerprint>/            word strings and times of each segment
    features/<name>/<fingerprint>/  values, times and mask of each segment
    aligned/<fingerprint>/          a word-aligned data set

Work is committed to the branch ``staging``, one atomic commit a call; ``main`` moves by ``publish`` alone. One process
at a time commits: on a local disk Icechunk cannot keep two committers apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import icechunk
import numpy as np
import zarr

from storage import aligned, arrays, ragged, schema
from storage.location import Location, first_line
from storage.schema import AlignedDataset, Failure, Frames, StoreError, Word
from storage.segments import Segment, from_arrays, to_arrays

T = TypeVar("T")
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

    def __init__(self, location: Location, repository: icechunk.Repository) -> None:
        self._location = location
        self._repository = repository

    @classmethod
    def open(cls, url: str, create: bool = True) -> FeatureStore:
        """The store at ``url`` (a path or ``s3://bucket/prefix``); where it is absent it is made, if ``create``."""
        location = Location(str(url))
        store = cls(location, location.open(create))
        if store._is_new():
            if not create:
                raise StoreError("absent", f"there is no feature store at {url}")
            store._initialise()
        store._root("staging")
        return store

    @contextmanager
    def coordinating(self) -> Iterator[None]:
        """Keep every other process from committing; StoreError names the one that does. Writing takes it itself."""
        with self._location.lock():
            yield

    def write_segments(self, segments: Sequence[Segment]) -> None:
        """Make this the segment table; nothing is committed where it is that already."""
        table = to_arrays(segments)
        sha256 = arrays.digest(table)
        with self._commit(f"write {len(segments)} segments") as root:
            if "segments" in root and root["segments"].attrs["sha256"] == sha256:
                return
            group = root.create_group("segments", overwrite=True, attributes={"names": list(table), "sha256": sha256})
            arrays.create(group, table)

    def segments(self, at: str = "staging") -> list[Segment]:
        """The segment table; empty where none was written."""
        return self._read("segments", at, _read_segments, absent=[])

    def done(self, feature: str, fingerprint: str) -> dict[str, Failure | None]:
        """Of each key that was treated its failure, or None where there are values; ``feature`` may be ``words``."""
        path = _path(feature, fingerprint)
        return self._read(path, "staging", lambda group: ragged.read_index(group).results(), absent={})

    def append(
        self, feature: str, recipe: dict, columns: Sequence[str], results: Mapping[str, Frames | Failure]
    ) -> None:
        """Commit the values or the failure of each key, all at once; refused where a key is done already."""
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
        with self._commit(f"forget the failures of {path}") as root:
            if path in root:
                ragged.forget_failures(root[path])

    def write_aligned(self, recipe: dict, dataset: AlignedDataset) -> str:
        """Commit a data set and return its recipe's fingerprint; nothing is committed where it is there already."""
        fingerprint = schema.fingerprint(recipe)
        path = f"aligned/{fingerprint}"
        for feature in dataset.features:
            _path(feature, fingerprint)
        with self._commit(f"write {path}") as root:
            if path not in root:
                aligned.create(root.create_group(path), dataset, {"recipe": recipe})
            elif root[path].attrs["sha256"] != aligned.digest(dataset):
                raise StoreError("recipe_reused", f"{path} holds other data: a recipe must name all that goes into it")
        return fingerprint

    def aligned(self, fingerprint: str, at: str = "main") -> AlignedDataset:
        """A committed data set."""
        return self._read(_path("aligned", fingerprint), at, aligned.read)

    def publish(self, fingerprint: str) -> Published:
        """Move ``main`` to staging and tag it with the data set's name; nothing where ``main`` publishes it already."""
        path = _path("aligned", fingerprint)
        with self.coordinating():
            current = self.published()
            if current is not None and current.fingerprint == fingerprint:
                return current
            staged = self.published("staging")  # there is one where a publication was cut short after its commit
            if staged is None or staged.fingerprint != fingerprint:
                self._read(path, "staging", lambda group: group.attrs["sha256"])
                tag = self._free_tag(f"aligned-{fingerprint}")
                with self._commit(f"publish {tag}", {"tag": tag, "fingerprint": fingerprint}) as root:
                    root.update_attributes({"published": tag})
                staged = self.published("staging")
            with self._translating("unwritable", f"tag {staged.tag}"):
                if staged.tag not in self._repository.list_tags():
                    self._repository.create_tag(staged.tag, staged.snapshot)
                self._repository.reset_branch("main", staged.snapshot)
            return staged

    def published(self, at: str = "main") -> Published | None:
        """What this very snapshot published; None where it published nothing."""
        snapshot = self._snapshot(at)
        with self._translating("unreadable", at):
            metadata = self._repository.lookup_snapshot(snapshot).metadata
        return Published(snapshot, metadata["tag"], metadata["fingerprint"]) if "tag" in metadata else None

    def digest(self, at: str = "staging") -> str:
        """Of all committed data by key, whatever the order and number of commits; reads and checks everything."""
        digests = {"segments": self._read("segments", at, _segments_digest, absent="")}
        for path in self._paths(at):
            digests[path] = self._read(path, at, _aligned_digest if path.startswith("aligned/") else ragged.digest)
        return arrays.digest({}, digests)

    def _append(self, feature: str, recipe: dict, attributes: dict, rows: Mapping, empty: ragged.Rows) -> None:
        if not rows:
            return
        path = _path(feature, schema.fingerprint(recipe))
        with self._commit(f"append {len(rows)} to {path}") as root:
            if path not in root:
                ragged.create(root.create_group(path), empty, {"recipe": recipe, **attributes})
            group = root[path]
            if group.attrs.get("columns") != attributes.get("columns"):
                raise StoreError("columns_changed", f"{path} has other columns: a recipe must tell them apart")
            ragged.append(group, rows)

    def _rows(self, path: str, keys: Sequence[str]) -> dict[str, ragged.Rows]:
        return self._read(path, "staging", lambda group: ragged.read(group, ragged.read_index(group), keys))

    def _read(self, path: str, at: str, read: Callable[[zarr.Group], T], absent: T | None = None) -> T:
        root = self._root(at)
        with self._translating("unreadable", f"{path} at {at}"):
            if path in root:
                return read(root[path])
        if absent is None:
            raise StoreError("unknown_fingerprint", f"{self._location.url} has no {path} at {at}")
        return absent

    def _paths(self, at: str) -> list[str]:
        """Of every group that has a fingerprint."""
        root = self._root(at)
        with self._translating("unreadable", f"groups at {at}"):
            members = [path for path, member in root.members(max_depth=2) if isinstance(member, zarr.Group)]
        return sorted(
            path for path in members if re.fullmatch(r"(words|aligned|features/[a-z0-9_]+)/[0-9a-f]{16}", path)
        )

    def _snapshot(self, at: str) -> str:
        with self._translating("unreadable", f"the name {at!r}"):
            if at in ("main", "staging"):
                return self._repository.lookup_branch(at)
            if at in self._repository.list_tags():
                return self._repository.lookup_tag(at)
            try:
                return self._repository.lookup_snapshot(at).id
            except (icechunk.IcechunkError, ValueError):
                raise StoreError("unknown_ref", f"{self._location.url} has no branch, tag or snapshot {at!r}") from None

    def _root(self, at: str) -> zarr.Group:
        snapshot = self._snapshot(at)
        with self._translating("unreadable", at):
            if self._repository.lookup_snapshot(snapshot).parent_id is None:
                raise StoreError("unpublished", f"nothing was published at {self._location.url} yet")
            root = zarr.open_group(self._repository.readonly_session(snapshot_id=snapshot).store, mode="r")
            self._check_version(root)
        return root

    def _check_version(self, root: zarr.Group) -> None:
        version = root.attrs.get("schema_version")
        if version != schema.SCHEMA_VERSION:
            raise StoreError(
                "schema_version",
                f"{self._location.url} is laid out by version {version} of the schema, this program knows version "
                f"{schema.SCHEMA_VERSION}: name a new store and extract again",
            )

    def _is_new(self) -> bool:
        with self._translating("unreadable", "the branches"):
            if "staging" not in self._repository.list_branches():
                return True
            return self._repository.lookup_snapshot(self._repository.lookup_branch("staging")).parent_id is None

    def _initialise(self) -> None:
        with self.coordinating(), self._translating("unwritable", "the first commit"):
            if "staging" not in self._repository.list_branches():
                self._repository.create_branch("staging", self._repository.lookup_branch("main"))
            session = self._repository.writable_session("staging")
            zarr.create_group(session.store, attributes={"schema_version": schema.SCHEMA_VERSION})
            session.commit("lay out the store")

    @contextmanager
    def _commit(self, message: str, metadata: dict | None = None) -> Iterator[zarr.Group]:
        """Commits what the body changed in the root group, if anything; all of it or, after any error, nothing."""
        with self.coordinating(), self._translating("unwritable", message):
            session = self._repository.writable_session("staging")
            root = zarr.open_group(session.store, mode="r+")
            self._check_version(root)
            yield root
            if session.has_uncommitted_changes:
                session.commit(message, metadata)

    @contextmanager
    def _translating(self, reason: str, what: str) -> Iterator[None]:
        """Whatever Icechunk, Zarr or a codec raises over a damaged, full or absent store becomes one clear sentence."""
        try:
            yield
        except StoreError:
            raise
        except icechunk.ConflictError as cause:
            raise StoreError("conflict", f"{what}: another machine wrote to {self._location.url}; run again") from cause
        except Exception as cause:
            sentence = f"{what}: {self._location.url} is {reason} ({first_line(cause)})"
            raise StoreError(reason, f"{sentence}; restore it, or name a new one and extract again") from cause

    def _free_tag(self, name: str) -> str:
        taken = self._repository.list_tags()
        candidates = [name, *(f"{name}-{count}" for count in range(2, len(taken) + 2))]
        return next(tag for tag in candidates if tag not in taken)


def _path(feature: str, fingerprint: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", feature):
        raise StoreError("bad_name", f"a feature's name is a-z, 0-9 and _, not {feature!r}")
    if not re.fullmatch(r"[0-9a-f]{16}", fingerprint):
        raise StoreError("bad_name", f"a fingerprint is 16 hex digits, not {fingerprint!r}")
    return f"{feature}/{fingerprint}" if feature in ("words", "aligned") else f"features/{feature}/{fingerprint}"


def _read_segments(group: zarr.Group) -> list[Segment]:
    table = {name: group[name][:] for name in group.attrs["names"]}
    if arrays.digest(table) != group.attrs["sha256"]:
        raise StoreError("damaged", "the segment table is not the one that was written")
    return from_arrays(table)


def _segments_digest(group: zarr.Group) -> str:
    return arrays.digest(to_arrays(_read_segments(group)))


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
