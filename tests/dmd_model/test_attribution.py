"""Readings word by word equal predictions of the words so far; occlusion equals predicting a hand-masked copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmd_model.attribution import Readings, WordRows, occlude_words, read_words
from dmd_model.batch import DataError, Samples, Sequences
from dmd_model.checkpoint import load
from dmd_model.fit import fit
from dmd_model.graph_distillation import EDGES
from dmd_model.model import Model
from dmd_model.prediction import predict
from tests.dmd_model.made_up import WIDTHS, make_samples, pieces

CLOSE = {"rtol": 0, "atol": 2e-6}
SMALL = {
    "dmd": {"d": 8, "heads": 2, "label_range": (-1.5, 1.5)},
    "ef-lstm": {},
    "dmd@official-mosi": {"d": 10, "heads": 2, "layers": 1, "lengths": (9, 9, 9), "accumulate": 1},
}


@pytest.fixture(scope="module", params=SMALL)
def trained(request, tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("run")
    splits = {"train": make_samples(24, 1, "train"), "valid": make_samples(8, 2, "valid")}
    splits = {name: replace(part, labels=part.labels / 2) for name, part in splits.items()}
    fit(request.param, splits, seed=1, folder=folder, overrides={**SMALL[request.param], "max_epochs": 2})
    return load(folder)


@pytest.fixture
def samples() -> Samples:
    return make_samples(7, 3, "own")


def readings_of(model: Model, samples: Samples) -> Readings:
    """Of word-aligned samples."""
    return read_words(model, samples, WordRows.aligned(samples))


def effects_in(model: Model, samples: Samples) -> np.ndarray:
    """Occlusion in word-aligned samples."""
    return occlude_words(model, samples, WordRows.aligned(samples))


def first_words(samples: Samples, segment: int, count: int) -> Samples:
    """A segment as far as its first words go."""
    parts = {
        name: replace(
            sequences,
            values=sequences.values[sequences.offsets[segment] :][:count],
            offsets=np.array([0, count]),
        )
        for name, sequences in samples.modalities.items()
    }
    return Samples(samples.ids[segment : segment + 1], samples.labels[segment : segment + 1], **parts)


def test_after_each_word_the_prediction_is_that_of_the_words_so_far(trained, samples):
    readings = readings_of(trained, samples)
    offsets = samples.text.offsets
    for segment in range(len(samples)):
        for count in range(1, offsets[segment + 1] - offsets[segment] + 1):
            expected = predict(trained, first_words(samples, segment, count))[0]
            assert readings.prediction[offsets[segment] + count - 1] == pytest.approx(expected, abs=2e-6)


def test_the_last_word_of_a_segment_has_the_prediction_of_all_of_it(trained, samples):
    readings = readings_of(trained, samples)
    np.testing.assert_allclose(readings.prediction[samples.text.offsets[1:] - 1], predict(trained, samples), **CLOSE)


def test_occlusion_equals_predicting_a_copy_in_which_the_word_is_the_training_mean(trained, samples):
    effects = effects_in(trained, samples)
    assert effects.shape == (samples.text.offsets[-1], 3) and np.abs(effects).max() > 1e-4
    whole = np.repeat(predict(trained, samples), np.diff(samples.text.offsets))
    for m, (name, sequences) in enumerate(samples.modalities.items()):
        for word in range(0, samples.text.offsets[-1], 5):
            values = sequences.values.copy()
            values[word] = trained.run.standardiser.means[name] if trained.run.standardiser.means else 0
            masked = replace(samples, **{name: replace(sequences, values=values)})
            without = np.repeat(predict(trained, masked), np.diff(samples.text.offsets))
            assert effects[word, m] == pytest.approx(whole[word] - without[word], abs=2e-6)


def test_neither_changes_with_the_segments_beside(trained, samples):
    alone = first_words(samples, 2, int(np.diff(samples.text.offsets)[2]))
    rows = slice(*samples.text.offsets[2:4])
    np.testing.assert_allclose(effects_in(trained, samples)[rows], effects_in(trained, alone), **CLOSE)
    np.testing.assert_allclose(readings_of(trained, samples).prediction[rows], readings_of(trained, alone).prediction,
                               **CLOSE)  # fmt: skip


def test_dmd_alone_has_heads_and_edges_of_its_two_units(trained, samples):
    readings, words = readings_of(trained, samples), samples.text.offsets[-1]
    if not trained.run.model.startswith("dmd"):
        assert readings.heads == {} == readings.edges
        return
    assert readings.heads.keys() == readings.edges.keys() == {"homogeneous", "heterogeneous"}
    for unit in readings.heads:
        assert readings.heads[unit].shape == (words, 3) and np.isfinite(readings.heads[unit]).all()
        assert readings.edges[unit].shape == (words, len(EDGES))
        sums = readings.edges[unit].reshape(words, 3, 2).sum(axis=2)
        joint = trained.run.config.edge_softmax == "joint"
        np.testing.assert_allclose(sums.sum(axis=1) if joint else sums, 1, **CLOSE)


def test_a_homogeneous_head_hears_its_own_modality_alone(trained, samples):
    if not trained.run.model.startswith("dmd"):
        pytest.skip("only DMD has heads of single modalities")
    others = make_samples(7, 3, "own")
    louder = replace(others, audio=replace(others.audio, values=others.audio.values + 1))
    before, after = (readings_of(trained, given).heads["homogeneous"] for given in (samples, louder))
    np.testing.assert_allclose(before[:, :2], after[:, :2], **CLOSE)
    assert np.abs(before[:, 2] - after[:, 2]).max() > 1e-3


def test_without_text_there_is_nothing_to_say_of_it(trained, samples):
    width = WIDTHS["text"]
    names = tuple(f"column {number}" for number in range(width))
    silent = replace(samples, text=Sequences(np.zeros((0, width), np.float32), np.zeros(8, np.int64), columns=names))
    effects, readings = effects_in(trained, silent), readings_of(trained, silent)
    assert np.isnan(effects[:, 0]).all() and np.isfinite(effects[:, 1:]).all()
    assert all(np.isnan(heads[:, 0]).all() for heads in readings.heads.values())
    np.testing.assert_allclose(readings.prediction[samples.text.offsets[1:] - 1], predict(trained, silent), **CLOSE)


def test_other_columns_are_refused(trained, samples):
    other = replace(samples, text=replace(samples.text, columns=tuple("abcdef")))
    for function in (readings_of, effects_in):
        with pytest.raises(DataError, match="text: the columns are not those"):
            function(trained, other)


def with_rows(samples: Samples, name: str, rows: np.ndarray, change=lambda values: values) -> Samples:
    """One segment, with these rows alone in one modality, changed."""
    sequences = getattr(samples, name)
    kept = replace(sequences, values=change(sequences.values[rows].copy()), offsets=np.array([0, len(rows)]))
    return replace(samples, **{name: kept})


@pytest.fixture(scope="module")
def frames() -> tuple[Samples, WordRows]:
    """Three words with 4, 0 and 2 frames of voice, and a frame between the second and the third."""
    samples = make_samples(1, 4, "own", longest=2)
    words = {name: replace(sequences, values=np.resize(sequences.values, (3, sequences.values.shape[1])),
                           offsets=np.array([0, 3])) for name, sequences in samples.modalities.items()}  # fmt: skip
    voice = np.random.default_rng(0).normal(size=(8, WIDTHS["audio"])).astype(np.float32)
    words["audio"] = Sequences(voice, np.array([0, 8]))
    first, stop = np.array([[0, 0, 0], [1, 1, 4], [2, 2, 5]]), np.array([[1, 1, 4], [2, 2, 4], [3, 3, 7]])
    return Samples(samples.ids, samples.labels, **words), WordRows(np.zeros(3, np.int64), first, stop)


def test_a_word_has_the_frames_of_its_time_and_its_last_one_all(trained, frames):
    if trained.run.model == "ef-lstm":
        pytest.skip("it goes word by word")
    samples, words = frames
    readings, effects = read_words(trained, samples, words), occlude_words(trained, samples, words)
    for word, (said, heard) in enumerate([(1, 4), (2, 4), (3, 8)]):
        so_far = samples
        for name, count in (("text", said), ("vision", said), ("audio", heard)):
            so_far = with_rows(so_far, name, np.arange(count))
        assert readings.prediction[word] == pytest.approx(predict(trained, so_far)[0], abs=2e-6)
    mean = trained.run.standardiser.means.get("audio", 0)

    def hidden(values: np.ndarray) -> np.ndarray:
        values[5:7] = mean
        return values

    without = predict(trained, with_rows(samples, "audio", np.arange(8), hidden))
    assert effects[2, 2] == pytest.approx((predict(trained, samples) - without)[0], abs=2e-6)
    assert np.isnan(effects[1, 2]) and np.isfinite(np.delete(effects, 5)).all()


def test_word_pieces_are_read_with_their_marks_and_hidden_by_a_piece(small_bert, tmp_path):
    splits = {name: pieces(make_samples(n, n, name)) for name, n in (("train", 12), ("valid", 6))}
    small = {**SMALL["dmd"], "max_epochs": 2, "label_range": (-3, 3)}
    fit("dmd", splits, seed=1, folder=tmp_path, text_encoder=small_bert, overrides=small)
    trained = load(tmp_path)
    own = make_samples(1, 3, "own")
    words, samples, hide = WordRows.aligned(own), pieces(own), 4
    order = samples.text.values[:-1, 1]
    numbers = np.arange(1, len(words.segments) + 1)
    words.first[:, 0], words.stop[:, 0] = order.searchsorted(numbers), order.searchsorted(numbers, "right")
    readings, effects = read_words(trained, samples, words), occlude_words(trained, samples, words, hide)
    last = len(samples.text.values) - 1
    for word, number in enumerate(numbers):
        so_far = samples
        for name in ("vision", "audio"):
            so_far = with_rows(so_far, name, np.arange(number))
        so_far = with_rows(so_far, "text", np.append(np.arange(words.stop[word, 0]), last))
        assert readings.prediction[word] == pytest.approx(predict(trained, so_far)[0], abs=2e-6)
        assert readings.heads["homogeneous"].shape == (len(numbers), 3)

        def hidden(values: np.ndarray, number: int = number) -> np.ndarray:
            values[values[:, 1] == number, 0] = hide
            return values

        without = predict(trained, with_rows(samples, "text", np.arange(last + 1), hidden))
        assert effects[word, 0] == pytest.approx((predict(trained, samples) - without)[0], abs=2e-6)
    with pytest.raises(ValueError, match="mask_piece is needed"):
        occlude_words(trained, samples, words)
