"""The field's archives: real ones read right, our own give back the data set, bad ones are refused by key."""

import dataclasses

import numpy as np
import pytest

from storage import aligned
from storage.interchange.npz import read_npz, write_npz
from storage.schema import StoreError
from tests.storage.store_records import some_dataset


@pytest.mark.real_data
def test_the_real_mosi_split(shared_data, tmp_path):
    """Numbers are those of the file, words those of its transcripts; written and read again nothing has changed."""
    path = shared_data / "mosi" / "dev_aligned_50.npz"
    dataset = read_npz(path)
    source = np.load(path, allow_pickle=False)
    assert len(dataset.ids) == 229 and len(set(dataset.videos)) == 10
    assert {name: values.shape[1] for name, values in dataset.features.items()} == {
        "glove": 300,
        "vision": 47,
        "audio": 74,
    }
    for row in (0, 100, 228):
        mine = slice(dataset.offsets[row], dataset.offsets[row + 1])
        length = source["lengths"][row]
        np.testing.assert_array_equal(dataset.features["vision"][mine], source["vision"][row, :length], strict=True)
        assert " ".join(dataset.words[mine]) == source["raw_text"][row]
    np.testing.assert_array_equal(dataset.labels, source["regression_labels"])

    write_npz(dataset, tmp_path / "again.npz")
    np.testing.assert_array_equal(
        np.load(tmp_path / "again.npz")["audio"], source["audio"][:, : source["lengths"].max()]
    )


@pytest.mark.parametrize("text", ["glove", "vision", "bert"])
def test_round_trip_of_everything(tmp_path, text):
    """Masks, times, splits, names of columns and segments without words included."""
    write_npz(some_dataset(), tmp_path / "d.npz", text=text)
    assert aligned.digest(read_npz(tmp_path / "d.npz", text=text)) == aligned.digest(some_dataset())


def test_a_data_set_without_segments(tmp_path):
    none = np.zeros(0)
    empty = dataclasses.replace(
        some_dataset(), ids=(), videos=(), labels=none, splits=(), offsets=np.zeros(1, int), words=(), starts=none,
        ends=none, features={"glove": np.zeros((0, 4))}, masks={"glove": none}, columns={"glove": tuple("abcd")},
    )  # fmt: skip
    write_npz(empty, tmp_path / "d.npz")
    assert aligned.digest(read_npz(tmp_path / "d.npz")) == aligned.digest(empty)


@pytest.fixture
def field_file() -> dict[str, np.ndarray]:
    """Two segments of 2 and 3 words, padded to 4."""
    random = np.random.default_rng(0)
    lengths = np.array([2, 3])
    inside = (np.arange(4) < lengths[:, None])[..., None]
    return {
        "text": random.normal(size=(2, 4, 5)).astype(np.float32) * inside,
        "vision": random.normal(size=(2, 4, 3)).astype(np.float32) * inside,
        "lengths": lengths,
        "regression_labels": np.array([1.0, -1.0]),
        "id": np.array(["v$_$1", "w$_$x$_$2"]),
        "raw_text": np.array(["good film", "one word too many"]),
    }


def write(folder, arrays):
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def test_padding_before_and_after_the_words_is_told_apart(tmp_path, field_file):
    after = read_npz(write(tmp_path, field_file))
    rolled = {
        key: np.stack(
            [np.roll(own, 4 - length, axis=0) for own, length in zip(values, field_file["lengths"], strict=True)]
        )
        for key, values in field_file.items()
        if values.ndim == 3
    }
    before = read_npz(write(tmp_path, field_file | rolled))
    assert aligned.digest(before) == aligned.digest(after)
    np.testing.assert_array_equal(before.features["vision"][2:], field_file["vision"][1, :3])


def test_lengths_that_are_not_given_are_found(tmp_path, field_file):
    whole = read_npz(write(tmp_path, field_file))
    del field_file["lengths"]
    assert aligned.digest(read_npz(write(tmp_path, field_file))) == aligned.digest(whole)


def test_features_with_lengths_of_their_own_are_unaligned(tmp_path, field_file):
    field_file["audio"] = np.ones((2, 6, 2), np.float32)
    field_file["audio_lengths"] = np.array([6, 6])
    dataset = read_npz(write(tmp_path, field_file))
    assert dataset.frame_offsets.keys() == {"audio"} and dataset.frame_offsets["audio"].tolist() == [0, 6, 12]
    assert np.isnan(dataset.frame_times["audio"]).all()


def test_what_the_file_does_not_say(tmp_path, field_file):
    """Words only where the transcript has as many; columns numbered; a row of zeros was not measured; no label, NaN."""
    field_file["vision"][0, 1] = 0
    del field_file["regression_labels"]
    dataset = read_npz(write(tmp_path, field_file), text="bert")
    assert dataset.words == ("good", "film", "", "", "")
    assert dataset.columns["bert"][:2] == ("bert_0", "bert_1")
    assert dataset.masks["vision"].tolist() == [True, False, True, True, True]
    assert np.isnan(dataset.labels).all() and np.isnan(dataset.starts).all()
    assert dataset.videos == ("v", "w$_$x") and dataset.splits == ("", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lengths", np.array([2, 9])),
        ("lengths", np.array([1, 3])),
        ("lengths", np.array([2.0, 3.0])),
        ("id", np.array(["v$_$1", "nothing"])),
        ("id", np.array(["v$_$1"])),
        ("vision", np.zeros((3, 4, 3), np.float32)),
        ("vision_lengths", np.array([1, 3])),
        ("vision_lengths", np.array([2, 5])),
        ("vision_mask", np.zeros((2, 3))),
        ("words", np.array([["a"], ["b"]])),
        ("text_bert", np.zeros((2, 2, 4))),
        ("text_bert", np.ones((2, 3, 4)) * [[[1], [2], [0]]]),
        ("regression_labels", np.zeros((2, 1))),
        ("regression_labels", np.array(["good", "bad"])),
        ("raw_text", np.array([1, 2])),
        ("id", np.array([b"v$_$1", b"v$_$2"])),
        ("raw_text", np.array([{}, "x"], dtype=object)),
    ],
)
def test_a_bad_key_is_named_and_nothing_is_unpickled(tmp_path, field_file, key, value):
    with pytest.raises(StoreError, match=rf"d\.npz.*{key}"):
        read_npz(write(tmp_path, field_file | {key: value}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not an archive"])
def test_a_file_that_is_no_archive(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(StoreError, match=r"d\.npz is not a NumPy archive"):
        read_npz(tmp_path / "d.npz")


def test_a_cut_or_flipped_archive_is_refused(tmp_path, field_file):
    path = write(tmp_path, field_file)
    whole = bytearray(path.read_bytes())
    position = whole.index(b"vision.npy") + 200
    whole[position] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="vision"):
        read_npz(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="not a NumPy archive"):
        read_npz(path)
