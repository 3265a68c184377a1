"""Pooling is the plain rule, word by word and frame by frame, only faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.schema import Frames, Word
from tasks.features.pooling import pool


def by_brute_force(frames: Frames, words) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros((len(words), frames.values.shape[1]))
    mask = np.zeros(len(words), bool)
    times = frames.times
    hop = np.median(np.diff(times)) if len(times) > 1 else np.inf
    for number, word in enumerate(words):
        weights = np.zeros(len(times))
        for i, time in enumerate(times):
            begin = (times[i - 1] + time) / 2 if i > 0 else time - hop / 2
            end = (time + times[i + 1]) / 2 if i + 1 < len(times) else time + hop / 2
            if word.start == word.end:
                weights[i] = begin <= word.start < end
            else:
                weights[i] = max(0.0, min(word.end, end) - max(word.start, begin))
        weights *= frames.mask
        if weights.sum() > 0:
            values[number] = weights @ frames.values.astype(np.float64) / weights.sum()
            mask[number] = True
    return values.astype(np.float32), mask


@st.composite
def recordings(draw):
    """Frames at rising times (some evenly spaced, some not), and words anywhere, also outside and of no length."""
    ticks = sorted(draw(st.sets(st.integers(0, 200), max_size=30)))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    mask = random.random(len(ticks)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    values = (random.normal(0, 100, (len(ticks), 3)) * mask[:, None]).astype(np.float32)
    frames = Frames(values, np.array(ticks, np.float64) / 16, mask)
    bounds = draw(st.lists(st.tuples(st.integers(-80, 900), st.integers(0, 240)), max_size=12))
    words = [Word("w", start / 64, (start + length) / 64) for start, length in bounds]
    return frames, words


@given(recordings())
def test_pooling_equals_brute_force(recording):
    frames, words = recording
    values, mask = pool(frames, words)
    expected_values, expected_mask = by_brute_force(frames, words)
    assert values.dtype == np.float32 and values.shape == (len(words), 3)
    np.testing.assert_array_equal(mask, expected_mask)
    np.testing.assert_allclose(values, expected_values, rtol=1e-5, atol=1e-5)


def frames_of(values, mask=None, hop=0.1) -> Frames:
    values = np.array(values, np.float32).reshape(len(values), -1)
    mask = np.ones(len(values), bool) if mask is None else np.array(mask)
    return Frames(values, np.arange(len(values)) * hop, mask)


def test_masked_frames_are_left_out_and_shift_nothing():
    frames = frames_of([1, 0, 3, 4, 0, 6], mask=[True, False, True, True, False, True])
    values, mask = pool(frames, [Word("a", -0.05, 0.25), Word("b", 0.25, 0.55)])
    np.testing.assert_allclose(values[:, 0], [2, 5])
    assert mask.all()


def test_a_frame_counts_for_as_long_as_the_word_overlaps_it():
    values, _ = pool(frames_of([1, 2, 3]), [Word("a", 0.04, 0.08)])  # 10 ms of the first, 30 ms of the second
    np.testing.assert_allclose(values[:, 0], [(1 * 1 + 3 * 2) / 4])


def test_a_picture_that_is_shown_for_longer_counts_for_more():
    frames = Frames(np.array([[1], [2], [9]], np.float32), np.array([0.0, 0.1, 0.9]), np.ones(3, bool))
    values, _ = pool(frames, [Word("a", 0.0, 0.5)])
    np.testing.assert_allclose(values[:, 0], [(0.05 * 1 + 0.45 * 2) / 0.5])


def test_a_word_shorter_than_a_hop_takes_the_nearest_frame():
    values, mask = pool(frames_of([1, 2, 3]), [Word("a", 0.11, 0.13), Word("b", 0.18, 0.18)])
    np.testing.assert_array_equal(values[:, 0], [2, 3])
    assert mask.all()


def test_intervals_that_only_touch_do_not_overlap_by_rounding():
    """Hundredths of a second from the aligner meet the edges of frames at 25 a second all the time."""
    frames = frames_of(np.arange(100), mask=np.arange(100) % 2 == 0, hop=0.04)
    edges = (np.arange(1, 99, 2) * 4 - 2) / 100  # of frames that were not measured
    _, mask = pool(frames, [Word("w", edge, edge + 0.04) for edge in edges])
    assert not mask.any()


def test_a_word_without_a_measured_frame_is_flagged_and_zero():
    frames = frames_of([1, 0, 3], mask=[True, False, True])
    nan = float("nan")
    words = [Word("a", 0.06, 0.15), Word("b", 5.0, 6.0), Word("c", nan, nan), Word("d", 0.0, 0.04), Word("e", 0.0, nan)]
    values, mask = pool(frames, words)
    np.testing.assert_array_equal(mask, [False, False, False, True, False])
    np.testing.assert_array_equal(values[:, 0], [0, 0, 0, 1, 0])


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_frames_are_no_error(count):
    values, mask = pool(
        frames_of([7.0] * count) if count else Frames(np.zeros((0, 1), np.float32), np.zeros(0), np.zeros(0, bool)),
        [Word("a", 0.0, 0.5)],
    )
    assert values.shape == (1, 1) and mask[0] == (count == 1) and values[0, 0] == 7.0 * count


def test_no_words_are_no_error():
    values, mask = pool(frames_of([1, 2]), [])
    assert values.shape == (0, 1) and mask.shape == (0,)


def test_sums_do_not_lose_small_values_behind_large_ones():
    """An hour of frames: running sums in float32 would be off in the fourth digit."""
    values = np.full(360_000, 123.456, np.float32)
    frames = Frames(values[:, None], np.arange(len(values)) / 100, np.ones(len(values), bool))
    pooled, _ = pool(frames, [Word("last", 3599.0, 3600.0)])
    assert abs(float(pooled[0, 0]) - 123.456) < 1e-4
