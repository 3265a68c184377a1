"""Drift: what was shifted is named, what was not is not, and a segment counts once however long it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset
from storage.segments import Segment, SegmentId
from tasks.drift import drift, drift_since_published

OLD, NEW = 120, 40


def corpus(shift: float) -> AlignedDataset:
    """160 segments, the last 40 of them new, whose second vision column lies ``shift`` higher."""
    random = np.random.default_rng(0)
    count = OLD + NEW
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 9, count))])
    words = int(offsets[-1])
    vision, audio = random.normal(size=(words, 20)), random.normal(size=(words, 10))
    vision[offsets[OLD] :, 1] += shift
    return AlignedDataset(
        ids=tuple(map(str, range(count))),
        videos=tuple(map(str, range(count))),
        labels=np.zeros(count, np.float32),
        splits=("train",) * count,
        offsets=offsets,
        words=("w",) * words,
        starts=np.zeros(words),
        ends=np.zeros(words),
        features={"vision": vision.astype(np.float32), "audio": audio.astype(np.float32)},
        masks={name: random.random(words) < 0.8 for name in ("vision", "audio")},
        columns={"vision": tuple(f"v{i}" for i in range(20)), "audio": tuple(f"a{i}" for i in range(10))},
    )


def new_ids() -> list[str]:
    return [str(number) for number in range(OLD, OLD + NEW)]


def test_the_column_that_moved_is_named_first():
    vision, audio = drift(corpus(shift=3.0), new_ids())
    assert (vision.feature, audio.feature) == ("vision", "audio")
    first, second = vision.largest[:2]
    assert first.name == "v1" and first.distance > 0.8 > 0.5 > second.distance
    assert first.new_mean - first.old_mean == pytest.approx(3.0, abs=0.5)
    assert vision.old <= OLD and vision.new <= NEW and len(vision.largest) == 5


def test_what_did_not_move_differs_in_few_columns():
    for one in drift(corpus(shift=0.0), new_ids()):
        assert one.differing <= 0.15 and one.distance < 0.25


def test_distances_are_between_means_of_measured_words():
    data = corpus(shift=1.0)
    (vision, _) = drift(data, new_ids())
    means = [
        data.features["vision"][rows][data.masks["vision"][rows]].mean(axis=0)
        for rows in map(slice, data.offsets[:-1], data.offsets[1:])
        if data.masks["vision"][rows].any()
    ]
    means = np.array(means)
    distances = [ks_2samp(column[: vision.old], column[vision.old :]).statistic for column in means.T]
    assert len(means) == vision.old + vision.new
    assert vision.distance == pytest.approx(np.mean(distances))
    assert vision.largest[0].distance == pytest.approx(max(distances))


def test_without_new_or_old_segments_there_is_no_distance():
    data = corpus(shift=0.0)
    assert drift(data, []) == () and drift(data, data.ids) == ()
    unmeasured = replace(data, masks=data.masks | {"audio": np.arange(len(data.words)) < data.offsets[OLD]})
    assert [one.feature for one in drift(unmeasured, new_ids())] == ["vision"]


def filmed(data: AlignedDataset, again: int = 0) -> list[Segment]:
    """The segment table of a data set, of whose first recordings so many were made again."""
    return [
        Segment(SegmentId(*name.split("$_$")), place, media_sha256=f"{place < again}{name}")
        for place, name in enumerate(data.ids)
    ]


@pytest.mark.parametrize("again", [0, 10])
def test_segments_are_new_since_the_data_set_that_was_published_before(tmp_path, again):
    """Those that it has not, and those that were filmed again; the same before and after their own publication."""
    data = corpus(shift=3.0)
    data = replace(data, ids=tuple(f"v$_${name}" for name in data.ids))
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments(filmed(data.take(range(OLD))))
    old = store.write_aligned({"of": "old"}, data.take(range(OLD)))
    assert drift_since_published(store, old) == ()
    store.publish(old)
    assert drift_since_published(store, old) == ()

    store.write_segments(filmed(data, again))
    whole = store.write_aligned({"of": "all"}, data)
    expected = drift(data, [*data.ids[:again], *data.ids[OLD:]])
    assert drift_since_published(store, whole) == expected and expected
    store.publish(whole)
    assert drift_since_published(store, whole) == expected
