"""Splits: official folds by name, else a hash of the id, which no other video can move."""

from __future__ import annotations

import csv
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.folds import SPLITS, empty_splits, make_splits, official_folds, recognised, split_of

IDS = st.text(min_size=1, max_size=12)


def test_splits_by_id_are_near_70_10_20_and_never_move():
    counts = Counter(split_of(f"video{index}") for index in range(5000))
    assert abs(counts["train"] / 5000 - 0.7) < 0.03
    assert abs(counts["valid"] / 5000 - 0.1) < 0.03
    assert abs(counts["test"] / 5000 - 0.2) < 0.03
    assert [split_of(video) for video in ("03bSnISJMiM", "astronaut", "-3g5yACwYnA")] == ["test", "train", "train"]


@given(old=st.sets(IDS), new=st.sets(IDS))
def test_adding_videos_moves_none(old, new):
    before, after = make_splits(old)[0], make_splits(old | new)[0]
    assert before.items() <= after.items() and set(after.values()) <= set(SPLITS)


def test_official_folds_have_the_published_numbers_of_videos():
    counts = {name: Counter(folds.values()) for name, folds in official_folds().items()}
    assert counts == {
        "cmu-mosi": {"train": 52, "valid": 10, "test": 31},
        "cmu-mosei": {"train": 2244, "valid": 298, "test": 675},
    }


def test_a_published_data_set_is_recognised_by_most_of_its_videos():
    mosi = sorted(official_folds()["cmu-mosi"])
    assert recognised(mosi) == recognised([*mosi[:3], "one", "two"]) == "cmu-mosi"
    assert recognised(["a", "b"]) is recognised([]) is recognised([*mosi[:2], "one", "two"]) is None
    splits, rule = make_splits(["03bSnISJMiM", "tIrG4oNLFzE", "WKA5OygbEKI", "one"])
    assert splits == {"03bSnISJMiM": "train", "tIrG4oNLFzE": "test", "WKA5OygbEKI": "valid", "one": ""}
    assert rule == "official folds of cmu-mosi"
    assert make_splits(["-3g5yACwYnA", "a", "b"], folds="cmu-mosei")[0] == {"-3g5yACwYnA": "train", "a": "", "b": ""}


def test_one_official_fold_alone_is_split_by_hash():
    valid = [video for video, fold in official_folds()["cmu-mosi"].items() if fold == "valid"]
    splits, rule = make_splits(valid)
    assert rule == "hash of the video id" and splits == {video: split_of(video) for video in valid}
    assert set(make_splits(valid, folds="cmu-mosi")[0].values()) == {"valid"}


def test_an_empty_split_is_one_clear_sentence():
    splits = {"a": "train", "b": "train", "c": "valid"}
    sentence = empty_splits("aab", splits, "hash of the video id")
    assert sentence.startswith(
        "By the hash of the video id, none of the 2 videos with labels is in valid and none in test"
    )
    assert not empty_splits("abcd", splits | {"d": "test"}, "rule") and not empty_splits([], splits, "rule")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mosi", "mosei"])
def test_official_folds_are_those_of_the_label_files(shared_data, name):
    with (shared_data / name / "label.csv").open(encoding="utf-8") as file:
        assert {row["video_id"]: row["mode"] for row in csv.DictReader(file)} == official_folds()[f"cmu-{name}"]
