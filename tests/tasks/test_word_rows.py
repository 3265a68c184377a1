"""Whose rows are whose: frames by their times, word pieces by their numbers, and a row a word where it is aligned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.word_rows import word_rows
from tests.tasks.labelled_data import labelled_data, unaligned_data


def test_aligned_features_have_a_row_a_word_and_what_is_absent_has_none():
    data = labelled_data()
    rows = word_rows(data, ("glove", "vision", "voices"))
    places = np.concatenate([np.arange(count) for count in np.diff(data.offsets)])
    np.testing.assert_array_equal(rows.first, np.stack([places, places, 0 * places], axis=1))
    np.testing.assert_array_equal(rows.stop - rows.first, np.tile([1, 1, 0], (len(places), 1)))
    np.testing.assert_array_equal(np.bincount(rows.segments), np.diff(data.offsets))


@given(st.lists(st.floats(0, 2), min_size=2, max_size=12), st.integers(0, 9))
def test_a_word_has_the_frames_within_its_time_and_no_others(edges, seed):
    data, edges = unaligned_data(seed), np.sort(edges)
    words = len(edges) - 1
    data = replace(
        data.take([0]), words=("w",) * words, starts=edges[:-1], ends=edges[1:], offsets=np.array([0, words]),
        features={"audio": data.take([0]).features["audio"]}, masks={"audio": data.take([0]).masks["audio"]},
        columns={"audio": data.columns["audio"]},
    )  # fmt: skip
    rows = word_rows(data, ("glove", "vision", "audio"))
    times = data.frame_times["audio"]
    for word in range(words):
        mine = np.arange(rows.first[word, 2], rows.stop[word, 2])
        within = np.flatnonzero((times >= edges[word]) & (times < edges[word + 1]))
        np.testing.assert_array_equal(mine, within)


def test_a_word_has_the_pieces_that_it_is_made_of():
    data = labelled_data().take([0])
    count = len(data.words)
    numbers = [0, *(number for number in range(1, count + 1) for _ in range(number % 3)), 0]  # every third has none
    pieces = np.array([(5, number) for number in numbers], np.float32)
    data = replace(
        data,
        features={"pieces": pieces},
        masks={"pieces": np.ones(len(pieces), bool)},
        columns={"pieces": ("piece", "word")},
        frame_offsets={"pieces": np.array([0, len(pieces)])},
        frame_times={"pieces": np.full(len(pieces), np.nan)},
    )
    rows = word_rows(data, ("pieces", "vision", "audio"))
    for word in range(count):
        mine = pieces[rows.first[word, 0] : rows.stop[word, 0], 1]
        assert mine.tolist() == [word + 1] * ((word + 1) % 3)
