"""A store at an S3 address keeps the same promises as one on a local disk."""

from __future__ import annotations

import pytest

from storage.feature_store import FeatureStore
from storage.schema import StoreError, fingerprint
from tests.storage.store_records import COLUMNS, RECIPE, some_dataset, some_results, some_segments


def fill(store: FeatureStore) -> str:
    """Everything that a store can hold, in several commits."""
    store.write_segments(some_segments(4))
    store.append("vision", RECIPE, COLUMNS, some_results(0, 5))
    store.append("vision", RECIPE, COLUMNS, some_results(5, 9))
    store.forget_failures("vision", fingerprint(RECIPE))
    return store.write_aligned(RECIPE, some_dataset(3))


def test_what_is_written_there_is_read_there_and_is_what_a_local_store_holds(s3, tmp_path):
    local, remote = FeatureStore.open(str(tmp_path / "store")), FeatureStore.open(f"{s3}/mosi/store")
    name = fill(local)
    assert fill(remote) == name
    published = remote.publish(name)
    local.publish(name)
    again = FeatureStore.open(f"{s3}/mosi/store", create=False)
    assert again.published() == published and again.digest("main") == local.digest("main")
    assert again.publish(name) == published, "nothing is published twice"


def test_the_second_of_two_machines_that_commit_at_once_is_refused(s3):
    """The lock is of one machine; between machines it is the store that decides, and nothing is lost."""
    url = f"{s3}/mosi"
    first, second = FeatureStore.open(url), FeatureStore.open(url)
    with pytest.raises(StoreError) as caught, second._repository.commit("late") as root:
        first.append("vision", RECIPE, COLUMNS, some_results(0, 2))
        root.update_attributes({"late": True})
    assert caught.value.reason == "conflict" and "run again" in str(caught.value)
    assert set(second.done("vision", fingerprint(RECIPE))) == {"key0", "key1"}


def test_an_address_without_a_store_or_bucket_is_a_sentence(s3):
    with pytest.raises(StoreError, match=f"there is no feature store at {s3}/none"):
        FeatureStore.open(f"{s3}/none", create=False)
    with pytest.raises(StoreError, match="s3://no-such-bucket/mosi is un"):
        FeatureStore.open("s3://no-such-bucket/mosi")
