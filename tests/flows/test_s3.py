"""The whole flow into a store at an S3 address, and back."""

from __future__ import annotations

import numpy as np

from flows.dmd import dmd
from storage.feature_store import FeatureStore


def test_what_is_published_there_is_what_is_published_here(finished, s3, tmp_path):
    run = finished.parameters(store=f"{s3}/tiny", home=tmp_path / "home", stop_after="validate")
    assert dmd(run).is_file()
    remote, local = FeatureStore.open(run.store_url, create=False), finished.store
    published = remote.published()
    assert published.fingerprint == local.published().fingerprint
    found, expected = (store.aligned(published.fingerprint) for store in (remote, local))
    assert (found.ids, found.words) == (expected.ids, expected.words)
    for name, values in expected.features.items():
        np.testing.assert_array_equal(found.features[name], values)
    assert not (run.folder / "store").exists()

    digest = remote.digest()
    assert dmd(run).is_file()
    assert remote.digest() == digest and remote.published() == published
