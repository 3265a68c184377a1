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
    hop = np.median(np.diff(frames.times)) if len(frames.times) > 1 else 0.0
    for number, word in enumerate(words):
        if not (np.isfinite(word.start) and np.isfinite(word.end)):
            continue
        within = [i for i, time in enumerate(frames.times) if word.start <= time < word.end]
        if not within and len(frames.times):
            middle = (word.start + word.end) / 2
            nearest = min(range(len(frames.times)), key=lambda i: abs(frames.times[i] - middle))
            if frames.times[0] - hop <= middle <= frames.times[-1] + hop:
                within = [nearest]
        measured = [i for i in within if frames.mask[i]]
        if measured:
            values[number] = np.mean([frames.values[i].astype(np.float64) for i in measured], axis=0)
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
    bounds = draw(st.lists(st.tuples(st.integers(-20, 240), st.integers(0, 60)), max_size=12))
    words = [Word("w", start / 16 + 1 / 64, (start + length) / 16 + 1 / 64) for start, length in bounds]
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
    values, mask = pool(frames, [Word("a", 0.0, 0.25), Word("b", 0.25, 0.6)])
    np.testing.assert_array_equal(values[:, 0], [2, 5])
    assert mask.all()


def test_a_word_shorter_than_a_hop_takes_the_nearest_frame():
    values, mask = pool(frames_of([1, 2, 3]), [Word("a", 0.11, 0.13), Word("b", 0.18, 0.18)])
    np.testing.assert_array_equal(values[:, 0], [2, 3])
    assert mask.all()


def test_a_word_without_a_measured_frame_is_flagged_and_zero():
    frames = frames_of([1, 0, 3], mask=[True, False, True])
    words = [Word("a", 0.09, 0.15), Word("b", 5.0, 6.0), Word("c", float("nan"), float("nan")), Word("d", 0.0, 0.05)]
    values, mask = pool(frames, words)
    np.testing.assert_array_equal(mask, [False, False, False, True])
    np.testing.assert_array_equal(values[:, 0], [0, 0, 0, 1])


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
