"""Alignment by intervals equals comparing every word with every interval; a corpus of files becomes a data set."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from storage.interchange.csd_alignment import EPSILON, overlap_means, read_csds
from storage.schema import StoreError
from tests.storage.interchange.csd_files import write_csd

seconds = st.integers(0, 12).map(lambda quarter: quarter / 4)


@st.composite
def intervals(draw: st.DrawFn) -> np.ndarray:
    """[n, 2]: unsorted, nested, touching, repeated, empty ones."""
    return np.sort(draw(stnp.arrays(np.float64, (draw(st.integers(0, 8)), 2), elements=seconds)), axis=1)


def plain_means(words, spans, features):
    """The definition: every word against every interval."""
    means, counts = np.zeros((len(words), features.shape[1])), np.zeros(len(words), int)
    for w, (start, end) in enumerate(words):
        mine = [row for (a, b), row in zip(spans, features, strict=True) if a < end + EPSILON and b > start - EPSILON]
        counts[w] = len(mine)
        if mine:
            means[w] = np.mean(mine, axis=0)
    return means, counts


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.interchange.csd_alignment.BLOCK", 3)
        yield


@given(intervals(), intervals(), st.integers(0, 2**32 - 1), st.booleans())
def test_as_comparing_every_word_with_every_interval(words, spans, seed, in_order):
    if in_order:
        spans = spans[np.lexsort(spans.T)]
    features = np.random.default_rng(seed).normal(size=(len(spans), 3))
    means, counts = overlap_means(words, spans, features)
    plain, plain_counts = plain_means(words, spans, features)
    np.testing.assert_array_equal(counts, plain_counts)
    np.testing.assert_allclose(means, plain, atol=1e-12)


def test_neighbours_that_touch_take_part_and_those_beyond_do_not():
    """As in the SDK, where times count as equal within EPSILON."""
    spans = np.array([[0, 1], [1, 2], [2, 3], [3, 4]], float)
    word = np.array([[1, 2], [1.1, 1.9]])
    means, counts = overlap_means(word, spans, np.array([[1.0], [2], [3], [10]]))
    assert means.ravel().tolist() == [2, 2] and counts.tolist() == [3, 1]


SPOKEN = ["sp", "good", "film", "sp", "bad", "one"]
TIMES = np.array([[10, 10.5], [10.5, 11], [11, 11.5], [11.5, 20], [20, 21], [21, 21.5]])


@pytest.fixture
def corpus(tmp_path):
    """A video with three segments, of which the last has no word, and a video without words."""
    words = np.array([[word.encode()] for word in SPOKEN])
    labels = np.array([[2.5, 9], [-1, 9], [0, 9]], np.float32)
    write_csd(tmp_path / "words.csd", {"v": (TIMES, words)}, "words")
    write_csd(tmp_path / "phones.csd", {"v": (TIMES, words)}, "phones")
    spans = np.array([[10, 11.6], [19, 22], [30, 31.0]])
    write_csd(tmp_path / "labels.csd", {"v": (spans, labels), "w": (spans[:1], labels[:1])}, "Opinion Segment Labels")
    frames = np.arange(100, 220) / 10
    audio = np.stack([frames, np.where(frames == 10.7, np.inf, 1)], axis=1)
    write_csd(tmp_path / "covarep.csd", {"v": (np.stack([frames, frames + 0.1], 1), audio)}, "COVAREP", ["t", "c"])
    write_csd(tmp_path / "vectors.csd", {"v": (TIMES, np.eye(6))}, "glove_vectors")
    write_csd(tmp_path / "facet.csd", {"other": (TIMES, np.ones((6, 4)))}, "FACET_4.2")
    return tmp_path


def test_a_folder_of_sequences_becomes_a_data_set(corpus, caplog):
    dataset = read_csds(list(corpus.iterdir()), "glove")
    assert dataset.ids == ("v$_$1", "v$_$2") and dataset.videos == ("v", "v")
    assert dataset.labels.tolist() == [2.5, -1] and dataset.splits == ("", "")
    assert dataset.words == ("good", "film", "bad", "one") and dataset.offsets.tolist() == [0, 2, 4]
    np.testing.assert_allclose(dataset.starts, [0.5, 1, 1, 2])
    np.testing.assert_allclose(dataset.ends, [1, 1.5, 2, 2.5])
    assert set(dataset.features) == {"glove", "vision", "audio"} and dataset.columns["audio"] == ("t", "c")
    # "good" is 10.5 to 11.0: frames from 10.4 (which ends with it) to 11.0 (which begins with it), but for the bad one
    expected = np.mean([10.4, 10.5, 10.6, 10.8, 10.9, 11.0])
    np.testing.assert_allclose(dataset.features["audio"][0], [expected, 1], rtol=1e-6)
    np.testing.assert_array_equal(dataset.features["glove"][1], np.array([0, 1, 1, 1, 0, 0], np.float32) / 3)
    assert not dataset.masks["vision"].any() and not dataset.features["vision"].any()
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "2 of 4 segments have no word" in said[0] and "v$_$3, w$_$1" in said[0]
    assert "COVAREP: 1 of 120 rows are not finite" in said[1]


@pytest.mark.parametrize(
    ("file", "name", "reason", "said"),
    [
        ("facet2.csd", "OpenFace_2", "two_of_a_kind", r"facet\.csd and .*facet2\.csd are both vision"),
        ("odd.csd", "odd", "unknown_sequence", "'odd' is none of the sequences"),
    ],
)
def test_sequences_that_have_no_place_are_named(corpus, file, name, reason, said):
    write_csd(corpus / file, {"v": (TIMES, np.ones((6, 4)))}, name)
    with pytest.raises(StoreError, match=said) as caught:
        read_csds(list(corpus.iterdir()), "glove")
    assert caught.value.reason == reason


@pytest.mark.parametrize("role", ["words", "labels"])
def test_words_and_labels_are_needed(corpus, role):
    (corpus / f"{role}.csd").unlink()
    with pytest.raises(StoreError, match=f"no sequence of {role} among"):
        read_csds(list(corpus.iterdir()), "glove")


@pytest.mark.real_data
def test_the_real_labels_number_their_clips_as_the_label_file_does(shared_data, tmp_path):
    """With one made-up word in the middle of every segment, each gets its label from both."""
    import csv

    from storage.interchange.csd import read_csd

    labels = read_csd(shared_data / "mosi" / "CMU_MOSI_Opinion_Labels.csd")
    spoken = {
        video: (spans.mean(axis=1)[:, None] + [[-0.01, 0.01]], np.full((len(spans), 1), b"w"))
        for video, spans in labels.intervals.items()
    }
    words = write_csd(tmp_path / "words.csd", spoken, "words")
    dataset = read_csds([shared_data / "mosi" / "CMU_MOSI_Opinion_Labels.csd", words], "glove")
    with (shared_data / "mosi" / "label.csv").open(newline="") as stream:
        truth = {f"{row['video_id']}$_${row['clip_id']}": float(row["label"]) for row in csv.DictReader(stream)}
    assert set(truth) - set(dataset.ids) == {"2WGyTLYerpo$_$44"}, "which ends where it begins: a known error of MOSI"
    np.testing.assert_allclose(dataset.labels, [truth[name] for name in dataset.ids], atol=1e-6)
