"""Ragged samples become padded batches; bad ones are refused by segment and column."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmd_model.batch import DataError, DeviceSamples, Samples, Sequences, Standardiser

CPU = torch.device("cpu")


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=8), limit=st.integers(1, 8), fixed=st.booleans(),
       data=st.data())  # fmt: skip
def test_a_batch_holds_the_rows_of_its_segments_and_zeros(lengths, limit, fixed, data):
    """For any lengths, limit and choice of segments: every row is where it belongs, and everything else is zero."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.arange(1, 2 * offsets[-1] + 1, dtype=np.float32).reshape(-1, 2)
    one = Sequences(values, offsets)
    samples = Samples(tuple(map(str, range(len(lengths)))), np.arange(len(lengths), dtype=np.float32), one, one, one)
    chosen = np.array(data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, max_size=9)))
    batch = DeviceSamples(samples, (limit,) * 3, fixed, CPU).batch(chosen)
    steps = limit if fixed else min(limit, max(lengths[i] for i in chosen))
    assert batch.text.shape == (len(chosen), steps, 2)
    for row, i in enumerate(chosen):
        length = min(lengths[i], limit)
        assert (batch.ids[row], batch.labels[row], batch.lengths[0, row]) == (str(i), i, length)
        np.testing.assert_array_equal(batch.text[row, :length], values[offsets[i] : offsets[i] + length])
        assert not batch.text[row, length:].any()


def test_cutting_is_said_and_counted(make_samples, caplog):
    samples = make_samples(20)
    longer = int((np.diff(samples.text.offsets) > 3).sum())
    with caplog.at_level(logging.WARNING):
        DeviceSamples(samples, (3, 50, 50), False, CPU)
    assert [record.getMessage() for record in caplog.records] == [
        f"text: {longer} of 20 segments are longer than 3 words and are cut"
    ]


def test_standardised_training_rows_have_mean_zero_and_deviation_one(make_samples):
    samples = make_samples(30)
    values = Standardiser.over(samples)(samples).vision.values
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-5)


def test_rows_that_were_not_measured_are_left_out_of_the_moments_and_end_as_zero(make_samples):
    samples = make_samples(30)
    mask = np.arange(len(samples.vision.values)) % 3 > 0
    values = samples.vision.values.copy()
    values[~mask] = 1e6
    masked = replace(samples, vision=Sequences(values, samples.vision.offsets, mask))
    standard = Standardiser.over(masked)(masked).vision.values
    assert not standard[~mask].any()
    np.testing.assert_allclose(standard[mask].std(axis=0), 1, atol=1e-5)


def test_a_column_that_does_not_vary_in_training_is_zero_everywhere(make_samples):
    train, test = make_samples(10, 1), make_samples(10, 2)
    train.audio.values[:, 2] = 0.1
    standard = Standardiser.over(train)(test).audio.values
    assert not standard[:, 2].any() and np.isfinite(standard).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_segment_and_column(make_samples, value):
    samples = make_samples(5)
    audio = replace(samples.audio, columns=("loudness", "pitch", "jitter", "shimmer"))
    audio.values[samples.audio.offsets[3], 1] = value
    with pytest.raises(DataError, match=rf"audio: {value} in segment video3, pitch \(1 such values\)"):
        replace(samples, audio=audio).check()


def test_a_segment_that_is_empty_in_every_modality_is_named(make_samples):
    samples = make_samples(5)
    offsets = samples.text.offsets.copy()
    offsets[2] = offsets[1]
    empty = {name: replace(one, offsets=offsets) for name, one in samples.modalities.items()}
    replace(samples, text=empty["text"]).check()
    with pytest.raises(DataError, match="segment video1 has no words in any modality"):
        replace(samples, **empty).check()


def test_a_modality_of_which_nothing_was_measured_is_absent(make_samples):
    """No rows at all, in one segment or in all of them, or rows that are all masked: the length is 0."""
    samples = make_samples(3)
    mask = np.ones(len(samples.vision.values), bool)
    mask[samples.vision.offsets[1] : samples.vision.offsets[2]] = False
    samples = replace(samples, vision=replace(samples.vision, mask=mask), audio=Sequences.absent(3))
    samples.check()
    batch = DeviceSamples(samples, (50, 50, 50), False, CPU).batch(np.arange(3))
    assert (batch.lengths > 0).tolist() == [[True] * 3, [True, False, True], [False] * 3]
    assert batch.audio.shape == (3, 1, 1) and not batch.vision[1].any()


def test_models_that_go_word_by_word_refuse_unlike_lengths(make_samples):
    batch = DeviceSamples(make_samples(3), (50, 50, 50), False, CPU).batch(np.arange(3))
    sequences, lengths = batch.aligned()
    assert torch.equal(sequences[2], batch.audio) and torch.equal(lengths, batch.lengths[0])
    lengths = batch.lengths.clone()
    lengths[1, 2] -= 1
    with pytest.raises(DataError, match="segment video2 has .* word-aligned"):
        replace(batch, lengths=lengths).aligned()


@pytest.mark.parametrize("label, said", [(np.nan, "label nan"), (3.5, r"label 3.5 \(1 such segments\): label_range")])
def test_a_label_that_is_missing_or_out_of_range_is_refused_for_training_only(make_samples, label, said):
    samples = make_samples(5)
    samples.labels[4] = label
    samples.check()
    with pytest.raises(DataError, match=f"segment video4 has {said}"):
        samples.check((-3, 3))


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda s: replace(s, labels=s.labels[:-1]), "5 ids, but 4 labels"),
        (lambda s: replace(s, text=replace(s.text, offsets=s.text.offsets[:-1])), "do not fit 5 segments"),
        (lambda s: replace(s, text=replace(s.text, values=s.text.values[:-1])), "do not fit 5 segments"),
        (lambda s: replace(s, text=replace(s.text, columns=("one",))), "1 column names for 6 columns"),
        (lambda s: replace(s, text=replace(s.text, mask=np.ones(3, bool))), "mask of length 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(make_samples, change, sentence):
    with pytest.raises(DataError, match=sentence):
        change(make_samples(5)).check()
