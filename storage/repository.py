"""One Icechunk repository: what is read at a version of it, and how a version is added.

Work is committed to the branch ``staging``; ``main`` only ever moves to a snapshot of staging, which gets a tag. The
root group lists the groups that were written, so that one that is lost is not taken for one that never was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import icechunk
import zarr

from storage.location import Location
from storage.schema import SCHEMA_VERSION, StoreError

T = TypeVar("T")


class Repository:
    """``at`` is ``staging``, ``main``, a tag or the id of a snapshot. Every method raises StoreError."""

    def __init__(self, url: str, create: bool) -> None:
        """Opens the repository at ``url``; where there is none it is made, if ``create``."""
        self._location = Location(url)
        self.url = url
        with self._translating("unreadable", "opening"):
            absent = create and not self._location.exists()
        if absent:
            with self._translating("unwritable", "making a store"):
                self._location.make(_lay_out)
        with self._translating("unreadable", "opening"):
            self._versions = self._location.open()
        self.root("staging")

    def lock(self) -> AbstractContextManager[None]:
        """A context in which no other process can commit."""
        return self._location.lock()

    def snapshot(self, at: str) -> icechunk.SnapshotInfo:
        """The version that a branch, a tag or the id of a snapshot names."""
        with self._translating("unreadable", f"the version {at!r}"):
            if at in ("main", "staging"):
                return self._versions.lookup_snapshot(self._versions.lookup_branch(at))
            if at in self._versions.list_tags():
                return self._versions.lookup_snapshot(self._versions.lookup_tag(at))
            try:
                return self._versions.lookup_snapshot(at)
            except (icechunk.IcechunkError, ValueError):
                raise StoreError("unknown_ref", f"{self.url} has no branch, tag or snapshot {at!r}") from None

    def history(self, at: str) -> Iterator[icechunk.SnapshotInfo]:
        """That version and those before it, newest first."""
        with self._translating("unreadable", f"the history of {at!r}"):
            yield from self._versions.ancestry(snapshot_id=self.snapshot(at).id)

    def root(self, at: str) -> zarr.Group:
        """The root group, for reading."""
        snapshot = self.snapshot(at)
        if snapshot.parent_id is None:
            raise StoreError("unpublished", f"nothing was published in {self.url} yet")
        with self._translating("unreadable", f"the version {at!r}"):
            root = zarr.open_group(self._versions.readonly_session(snapshot_id=snapshot.id).store, mode="r")
            self._check_schema(root)
        return root

    def read(self, path: str, at: str, read: Callable[[zarr.Group], T], absent: T | None = None) -> T:
        """What ``read`` makes of the group; where it was never written ``absent``, or else StoreError."""
        root = self.root(at)
        with self._translating("unreadable", f"{path} at {at}"):
            if has(root, path):
                return read(root[path])
        if absent is None:
            raise StoreError("unknown_fingerprint", f"{self.url} has no {path} at {at}")
        return absent

    def paths(self, at: str) -> list[str]:
        """Of all groups that were written."""
        return self.root(at).attrs["groups"]

    @contextmanager
    def commit(self, message: str, metadata: dict | None = None) -> Iterator[zarr.Group]:
        """Commits what the body changes in the root group, if anything; all of it or, after any error, nothing."""
        with self.lock(), self._translating("unwritable", message):
            session = self._versions.writable_session("staging")
            root = zarr.open_group(session.store, mode="r+")
            self._check_schema(root)
            yield root
            if session.has_uncommitted_changes:
                session.commit(message, metadata)

    def free_tag(self, name: str) -> str:
        """The name, or the name with the first number from 2 that was not given yet."""
        taken = self._versions.list_tags()
        candidates = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
        return next(tag for tag in candidates if tag not in taken)

    def move_main(self, snapshot: str, tag: str) -> None:
        """Tag the snapshot, unless it has the tag already, and let ``main`` be it."""
        with self.lock(), self._translating("unwritable", f"tag {tag}"):
            if tag not in self._versions.list_tags():
                self._versions.create_tag(tag, snapshot)
            self._versions.reset_branch("main", snapshot)

    def _check_schema(self, root: zarr.Group) -> None:
        version = root.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StoreError(
                "schema_version",
                f"{self.url} is laid out by version {version} of the schema, this program knows version "
                f"{SCHEMA_VERSION}: name a new store and extract again",
            )

    @contextmanager
    def _translating(self, reason: str, what: str) -> Iterator[None]:
        """Whatever Icechunk, Zarr or a codec raises over a damaged, full or absent store becomes one clear sentence."""
        try:
            yield
        except StoreError:
            raise
        except icechunk.ConflictError as cause:
            raise StoreError("conflict", f"{what}: another machine wrote to {self.url}; run again") from cause
        except Exception as cause:
            sentence = f"{what}: {self.url} is {reason} ({_first_line(cause)})"
            raise StoreError(reason, f"{sentence}; restore it, or name a new one and extract again") from cause


def has(root: zarr.Group, path: str) -> bool:
    """Whether the group was written; StoreError where it was, and is lost."""
    if (listed := path in root.attrs["groups"]) != (path in root):
        raise StoreError("damaged", f"{path} is {'listed but lost' if listed else 'there but not listed'}")
    return listed


def create_group(root: zarr.Group, path: str) -> zarr.Group:
    """A new, empty group in place of any that was there."""
    root.update_attributes({"groups": sorted({*root.attrs["groups"], path})})
    return root.create_group(path, overwrite=True)


def _lay_out(versions: icechunk.Repository) -> None:
    versions.create_branch("staging", versions.lookup_branch("main"))
    session = versions.writable_session("staging")
    zarr.create_group(session.store, attributes={"schema_version": SCHEMA_VERSION, "groups": []})
    session.commit("lay out the store")


def _first_line(error: Exception) -> str:
    """What went wrong, without the context that Icechunk prints under it."""
    lines = [line.strip(" |").removeprefix("x ").strip() for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
