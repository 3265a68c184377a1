"""What the report says of the data adds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import Failure
from tasks.sections.data import boundaries_section, dataset_section, funnel_section
from tests.tasks.funnel_store import STEPS, funnel_store, table
from tests.tasks.labelled_data import labelled_data, publish

pytestmark = pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")


def test_the_funnel_loses_no_segment(prefect_server, tmp_path):
    segments = table(9)
    segments[0] = replace(segments[0], failure=Failure("bad_id", "a path"))
    segments[1] = replace(segments[1], excluded="duplicate_row")
    segments[8] = replace(segments[8], label=float("nan"))
    lost = {4: ("words", "silent"), 5: ("vision", "no_face"), 6: ("vision", "no_face"), 7: ("audio", "truncated")}
    store = funnel_store(tmp_path, lost, segments)
    section = funnel_section(store, STEPS)
    # labelled, found, decoded, aligned, faces, valid, used
    assert [record["segments"] for record in section["funnel"].numbers] == [9, 7, 6, 5, 3, 3, 2]
    assert {(loss["stage"], loss["reason"]): loss["count"] for loss in section["losses"]} == {
        ("found", "duplicate_row"): 1,
        ("found", "bad_id"): 1,
        ("decoded", "truncated"): 1,
        ("aligned", "silent"): 1,
        ("faces", "no_face"): 2,
        ("used", "no_label"): 1,
    }
    assert {entry["id"]: entry["reason"] for entry in section["lost"]} == {
        "v$_$2": "bad_id",
        "v$_$3": "duplicate_row",
        "v$_$4": "silent",
        "v$_$5": "no_face",
        "v$_$6": "no_face",
        "v$_$7": "truncated",
    }


def test_every_segment_is_of_one_split_and_every_label_of_one_sign(prefect_server, tmp_path):
    data = labelled_data()
    store, published = publish(tmp_path, data)
    section = dataset_section(data, store, published.fingerprint)
    assert {split["split"]: split["segments"] for split in section["splits"]} == {"train": 12, "valid": 4, "test": 5}
    assert sum(split["words"] for split in section["splits"]) == len(data.words)
    signs = [split[sign] for split in section["splits"] for sign in ("negative", "zero", "positive")]
    assert sum(signs) == np.isfinite(data.labels).sum() == sum(row["segments"] for row in section["labels"].numbers)
    assert {row["words"]: row["segments"] for row in section["lengths"].numbers} == dict(
        zip(*np.unique(np.diff(data.offsets), return_counts=True), strict=True)
    )


def test_known_errors_of_imported_features_are_listed(prefect_server, tmp_path):
    store = FeatureStore.open(str(tmp_path / "store"))
    erratum = {"video": "2WGyTLYerpo", "clip": "44", "what": "no length", "action": "exclude"}
    name = store.write_aligned({"made": "elsewhere"}, labelled_data(), {"errata": [erratum]})
    assert dataset_section(labelled_data(), store, name)["errata"] == [erratum]


def test_boundary_errors_are_counted_to_the_limit():
    section = boundaries_section(np.array([0.0, 0.05, 0.0501, 0.2]))
    assert section["boundaries"]["count"] == 4 and section["boundaries"]["within_50"] == 50
    assert section["boundaries"]["median"] == pytest.approx(50.05)
    assert boundaries_section(np.empty(0)) == {}
