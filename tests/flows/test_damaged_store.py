"""No phantom data: in the store of a whole run, what is lost or flipped in any array raises when it is read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync

from storage.feature_store import FeatureStore
from storage.schema import StoreError

KINDS = {
    "segments": {"video", "clip", "row", "media", "media_sha256", "start", "end", "text", "label", "split", "failure"},
    "words": {"text", "start", "end", "confidence", "source", "index/key", "index/length", "index/reason"},
    "features": {"values", "times", "mask", "index/key", "index/sha256", "index/message"},
    "aligned": {
        "ids",
        "labels",
        "splits",
        "offsets",
        "words",
        "starts",
        "features/bert/values",
        "features/vision/mask",
    },
}
"""Some of the arrays that there must be, so that no kind of them goes unseen."""


@pytest.fixture(scope="module")
def url(finished, tmp_path_factory) -> str:
    return finished.copy(tmp_path_factory.mktemp("damaged") / "home").parameters().store_url


@pytest.fixture(scope="module")
def versions(url) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(url))


def arrays(versions: icechunk.Repository) -> dict[str, list[str]]:
    """The keys of the chunks of every array, by its path."""
    session = versions.readonly_session("staging").store

    async def keys(path: str) -> list[str]:
        return [key async for key in session.list_prefix(path) if key.startswith(f"{path}/c/")]

    members = zarr.open_group(session, mode="r").members(max_depth=None)
    return {path: sync(keys(path)) for path, member in members if isinstance(member, zarr.Array)}


@contextmanager
def changed(versions: icechunk.Repository, key: str, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """The newest snapshot with this chunk changed, or without it, as if it had been so since it was written."""
    sound = versions.lookup_branch("staging")
    session = versions.writable_session("staging")
    found = sync(session.store.get(key, default_buffer_prototype())).to_bytes()
    if (other := change(found)) is None:
        sync(session.store.delete(key))
    else:
        sync(session.store.set(key, Buffer.from_bytes(other)))
    session.commit("damage")
    try:
        yield
    finally:
        versions.reset_branch("staging", sound)


def flipped(content: bytes) -> bytes:
    """With one bit the other way."""
    dice = random.Random(content)
    damaged = bytearray(content)
    damaged[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def lost(_: bytes) -> None:
    return None


def read(store: FeatureStore, path: str) -> object:
    """What readers get of the group that an array belongs to."""
    kind, *names = path.split("/")
    if kind == "segments":
        return store.segments()
    if kind == "aligned":
        return store.aligned(names[0], at="staging")
    feature, fingerprint = ("words", names[0]) if kind == "words" else names[:2]
    keys = [key for key, failure in store.done(feature, fingerprint).items() if failure is None]
    return store.words(fingerprint, keys) if kind == "words" else store.frames(feature, fingerprint, keys)


@pytest.mark.parametrize("change", [flipped, lost])
def test_damage_in_any_array_raises_or_changes_nothing(url, versions, change):
    found, store = arrays(versions), FeatureStore.open(url, create=False)
    for kind, names in KINDS.items():
        there = {path.removeprefix(f"{kind}/").split("/", {"segments": 0, "features": 2}.get(kind, 1))[-1]
                 for path in found if path.startswith(f"{kind}/")}  # fmt: skip
        assert names <= there, kind
    sound, unnoticed = store.digest(), []
    for path, keys in found.items():
        for key in keys:
            with changed(versions, key, change):
                try:
                    read(store, path)
                    if store.digest() != sound:  # a bit of Zstandard's frame header means nothing
                        unnoticed.append(key)
                except StoreError:
                    pass
    assert sum(map(len, found.values())) > 60 and not unnoticed


def test_damage_in_any_file_raises_or_is_not_read(url):
    """Chunks that lie in files of their own, also of versions that nobody reads any more."""
    before, noticed = FeatureStore.open(url, create=False).digest(), 0
    for path in sorted((Path(url) / "chunks").iterdir()):
        sound = path.read_bytes()
        path.write_bytes(flipped(sound))
        try:
            assert FeatureStore.open(url, create=False).digest() == before
        except StoreError:
            noticed += 1
        finally:
            path.write_bytes(sound)
    assert noticed > 10
