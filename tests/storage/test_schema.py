"""Fingerprints name recipes; a data set whose parts do not fit cannot be made."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import aligned
from storage.schema import fingerprint
from tests.storage.store_records import some_dataset, some_unaligned


def test_fingerprint_is_stable_and_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2.5, "x"]}) == fingerprint({"b": (2.5, "x"), "a": 1}) == "5f097a2417b218fb"
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.mark.parametrize("recipe", [{"x": float("nan")}, {"x": np.zeros(2)}])
def test_fingerprint_refuses_what_json_cannot_say(recipe):
    with pytest.raises((TypeError, ValueError)):
        fingerprint(recipe)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("videos", ("v",)),
        ("labels", np.zeros(3, np.float32)),
        ("offsets", np.array([0, 3, 2, 8, 9])),
        ("offsets", np.array([0, 3, 3, 8, 8])),
        ("ends", np.zeros(8)),
        ("masks", {}),
        ("columns", {"glove": ("a",)}),
        ("features", {"glove": np.zeros((9, 5)), "vision": np.zeros((9, 3))}),
    ],
)
def test_a_data_set_names_the_part_that_does_not_fit(part, value):
    with pytest.raises(ValueError, match=part):
        dataclasses.replace(some_dataset(), **{part: value})


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("frame_offsets", {"smell": np.array([0, 7, 9, 9, 13])}),
        ("frame_offsets['vision']", {"vision": np.array([0, 7, 9, 9, 12])}),
        ("frame_offsets['vision']", {"vision": np.array([0, 7, 6, 9, 13])}),
        ("frame_times", {}),
        ("frame_times['vision']", {"vision": np.zeros(9)}),
        ("masks['vision']", {"vision": np.ones(9, bool), "glove": np.ones(9, bool)}),
    ],
)
def test_an_unaligned_feature_that_does_not_fit_is_named(part, value):
    with pytest.raises(ValueError, match=re.escape(part)):
        dataclasses.replace(some_unaligned(), **{part.partition("[")[0]: value})


def test_a_feature_has_its_own_offsets_or_those_of_the_words():
    dataset = some_unaligned()
    assert dataset.feature_offsets("vision").tolist() == [0, 7, 9, 9, 13]
    assert dataset.feature_offsets("glove") is dataset.offsets


@given(st.lists(st.integers(0, 3), max_size=6))
def test_segments_taken_have_their_own_words_and_frames(places):
    whole = some_unaligned()
    part = whole.take(places)
    assert part.ids == tuple(whole.ids[place] for place in places)
    for index, place in enumerate(places):
        words, there = (slice(*d.offsets[i : i + 2]) for d, i in ((part, index), (whole, place)))
        assert part.words[words] == whole.words[there]
        np.testing.assert_array_equal(part.ends[words], whole.ends[there])
        for name in whole.features:
            rows, there = (slice(*d.feature_offsets(name)[i : i + 2]) for d, i in ((part, index), (whole, place)))
            np.testing.assert_array_equal(part.features[name][rows], whole.features[name][there])
            np.testing.assert_array_equal(part.masks[name][rows], whole.masks[name][there])


def test_all_segments_taken_are_the_same_data_set():
    assert aligned.digest(some_unaligned().take(range(4))) == aligned.digest(some_unaligned())
