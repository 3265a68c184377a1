"""The field's pickles, as their authors write them: what each key becomes, and which fault of which key is named."""

import logging
import pickle

import numpy as np
import pytest

from dmd_model.batch import PIECES as MODEL_PIECES
from storage.interchange import padded
from storage.interchange.pickles import read_pickle, write_mmsa
from storage.schema import StoreError
from tests.storage.store_records import some_dataset, some_unaligned

SPLITS = {"train": 3, "valid": 2, "test": 2}


def saved(path, content):
    path.write_bytes(pickle.dumps(content, 4))
    return path


def pad(rows, width, before=False):
    """[T, D] padded to ``width`` rows."""
    blank = np.zeros((width - len(rows), rows.shape[1]), np.float32)
    return np.concatenate([blank, rows] if before else [rows, blank]).astype(np.float32)


@pytest.fixture
def raw() -> dict[str, list[dict[str, np.ndarray]]]:
    """Of each split the segments' own rows: 5 words at most, 9 frames of vision, 12 of audio."""
    random = np.random.default_rng(0)
    return {
        split: [
            {name: random.normal(size=size) for name, size in
             {"text": (n, 4), "vision": (n + 4, 3), "audio": (2 * n, 2)}.items()}
            for n in random.integers(2, 6, count)
        ]
        for split, count in SPLITS.items()
    }  # fmt: skip


def mmsa(raw, unaligned=True, before=()):
    """MMSA's pickle; aligned, all features are cut to as many rows as there are words."""
    found = {}
    for split, segments in raw.items():
        counts = [len(segment["text"]) for segment in segments]
        if not unaligned:
            segments = [{k: v[:n] for k, v in one.items()} for one, n in zip(segments, counts, strict=True)]
        widths = {"text": 6, "vision": 11, "audio": 13} if unaligned else dict.fromkeys(("text", "vision", "audio"), 6)
        arrays = {
            key: np.stack([pad(segment[key], width, key in before) for segment in segments])
            for key, width in widths.items()
        }
        numbers = np.stack([pad(np.array([[101], *[[7 + i] for i in range(n - 2)], [102]]), 6)[:, 0] for n in counts])
        arrays |= {
            "raw_text": np.array([" ".join(f"w{i}" for i in range(n)) for n in counts], object),
            "text_bert": np.stack([numbers, numbers > 0, 0 * numbers], axis=1).astype(np.float32),
            "id": [f"{split}$_${row}" for row in range(len(segments))],
            "annotations": ["Positive"] * len(segments),
            "classification_labels": np.ones(len(segments)),
            "regression_labels": np.arange(len(segments)) / 2,
        }
        if unaligned:
            arrays |= {f"{key}_lengths": [len(one[key]) for one in segments] for key in ("vision", "audio")}
        found[split] = arrays
    return found


def assert_rows(dataset, raw, cut=False):
    """Every segment has its own rows of every feature, in the order of the splits."""
    segments = [segment for own in raw.values() for segment in own]
    for place, segment in enumerate(segments):
        for key, name in {"text": "bert", "vision": "vision", "audio": "audio"}.items():
            rows = slice(*dataset.feature_offsets(name)[place : place + 2])
            own = segment[key][: len(segment["text"])] if cut else segment[key]
            np.testing.assert_array_equal(dataset.features[name][rows], own.astype(np.float32))
    assert dataset.splits == tuple(split for split, own in raw.items() for _ in own)


@pytest.mark.parametrize("before", [(), ("text", "vision", "audio"), ("vision", "audio")])
def test_mmsa_unaligned(tmp_path, raw, before):
    """Lengths as given, and those of text by its zeros; padded after or before the rows."""
    dataset = read_pickle(saved(tmp_path / "unaligned_50.pkl", mmsa(raw, before=before)), "bert")
    assert_rows(dataset, raw)
    assert dataset.frame_offsets.keys() == {"vision", "audio", "pieces"}
    assert dataset.words[:2] == ("w0", "w1") and len(dataset.words) == dataset.offsets[-1]
    assert dataset.ids[:2] == ("train$_$0", "train$_$1") and dataset.labels[:3].tolist() == [0, 0.5, 1]
    assert all(mask.all() for mask in dataset.masks.values())


@pytest.mark.parametrize("before", [(), ("text", "vision", "audio"), ("vision", "audio")])
def test_mmsa_aligned_has_no_lengths_and_they_are_found(tmp_path, raw, before):
    dataset = read_pickle(saved(tmp_path / "aligned_50.pkl", mmsa(raw, unaligned=False, before=before)), "bert")
    assert_rows(dataset, raw, cut=True)
    assert dataset.frame_offsets.keys() == {"pieces"}


def test_what_an_encoder_made_of_padding_is_none(tmp_path, raw):
    content = mmsa(raw, unaligned=False)
    for arrays in content.values():
        arrays["text"] = np.where(arrays["text"] == 0, 9, arrays["text"]).astype(np.float32)
    assert_rows(read_pickle(saved(tmp_path / "a.pkl", content), "bert"), raw, cut=True)


def test_text_bert_becomes_pieces_of_which_each_is_a_word(tmp_path, raw):
    dataset = read_pickle(saved(tmp_path / "a.pkl", mmsa(raw)), "bert")
    assert dataset.columns["pieces"] == padded.PIECES == MODEL_PIECES
    count = len(raw["train"][0]["text"])
    rows = dataset.features["pieces"][: dataset.frame_offsets["pieces"][1]]
    assert rows[:, 0].tolist() == [101, *range(7, 5 + count), 102]
    assert rows[:, 1].tolist() == [0, *range(1, count - 1), 0]


def test_mmsa_written_has_the_keys_that_its_models_read(tmp_path, raw):
    dataset = read_pickle(saved(tmp_path / "a.pkl", mmsa(raw)), "bert")
    write_mmsa(dataset, tmp_path / "b.pkl", "bert")
    before, after = mmsa(raw), pickle.loads((tmp_path / "b.pkl").read_bytes())  # noqa: S301 written here
    assert list(after) == ["train", "valid", "test"]
    for split, arrays in before.items():
        for key in ("id", "regression_labels", "vision_lengths", "audio_lengths", "raw_text"):
            np.testing.assert_array_equal(after[split][key], arrays[key])
        for key in ("text", "vision", "audio"):
            width = after[split][key].shape[1]
            np.testing.assert_array_equal(after[split][key], arrays[key][:, :width])
            assert width == after["train"][key].shape[1] and not arrays[key][:, width:].any()
        width = after[split]["text_bert"].shape[2]
        np.testing.assert_array_equal(after[split]["text_bert"], arrays["text_bert"][..., :width])
    assert after["train"]["annotations"].tolist() == ["Neutral", "Positive", "Positive"]
    assert after["train"]["classification_labels"].tolist() == [1, 2, 2]


def test_classes_of_every_sign_and_of_no_label(tmp_path):
    write_mmsa(some_dataset(), tmp_path / "a.pkl", "glove")
    (train, valid, test, none) = pickle.loads((tmp_path / "a.pkl").read_bytes()).values()  # noqa: S301 written here
    labels = [part["classification_labels"].tolist() for part in (train, valid, test, none)]
    assert labels == [[2], [-1], [0], [1]] and valid["annotations"].tolist() == [""]


@pytest.mark.parametrize("dataset", [some_dataset(), some_unaligned()])
def test_the_order_over_splits_is_kept(tmp_path, dataset):
    """The splits of these are neither in order nor all named."""
    mixed = dataset.take([2, 0, 3, 1])
    write_mmsa(mixed, tmp_path / "a.pkl", "glove")
    again = read_pickle(tmp_path / "a.pkl", "glove")
    assert again.ids == mixed.ids and again.splits == mixed.splits == ("test", "train", "", "valid")


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        ([[b"video", b"1.5", b"2.25"], [b"w", b"1", b"2"]], "video$_$1.5_2.25"),
        ([["video[7]"], ["w[0]"]], "video$_$7"),
        (["a$_$3", "b$_$4"], "a$_$3"),
    ],
)
def test_mult(tmp_path, ids, first):
    """Padded before the rows, labels [N, 1, 1], names in three forms."""
    random = np.random.default_rng(1)
    widths = {"text": (5, 4), "vision": (8, 3), "audio": (6, 2)}
    rows = {key: [random.normal(size=(n, d)) for n in (t, t - 2)] for key, (t, d) in widths.items()}
    split = {key: np.stack([pad(one, t, True) for one in rows[key]]) for key, (t, _) in widths.items()}
    split |= {"labels": np.array([[[1.5]], [[-2]]]), "id": np.array(ids)}
    dataset = read_pickle(saved(tmp_path / "mosi_data_noalign.pkl", {"train": split, "test": split}), "glove")
    assert dataset.ids[0] == first and dataset.labels.tolist() == [1.5, -2, 1.5, -2]
    assert dataset.frame_offsets.keys() == {"vision", "audio"} and set(dataset.words) == {""}
    for key, name in {"text": "glove", "vision": "vision", "audio": "audio"}.items():
        np.testing.assert_array_equal(dataset.features[name], np.concatenate(rows[key] * 2).astype(np.float32))


def misa(count, first=0):
    random = np.random.default_rng(first)
    segments = []
    for row in range(first, first + count):
        n = int(random.integers(1, 5))
        words = [f"w{i}" for i in range(n)]
        parts = (np.arange(n), random.normal(size=(n, 3)), random.normal(size=(n, 2)), words)
        segments.append((parts, np.array([[row - 1.0, 9]]), f"v[{row}]"))
    return segments


def test_misa(tmp_path):
    segments = misa(3)
    segments[1][0][2][0, 0] = -np.inf
    dataset = read_pickle(saved(tmp_path / "train.pkl", segments), "glove")
    assert dataset.ids == ("v$_$0", "v$_$1", "v$_$2") and dataset.labels.tolist() == [-1, 0, 1]
    assert dataset.words == tuple(word for segment in segments for word in segment[0][3])
    vision = np.concatenate([segment[0][1] for segment in segments]).astype(np.float32)
    np.testing.assert_array_equal(dataset.features["vision"], vision)
    hole = dataset.offsets[1]
    assert not dataset.masks["audio"][hole] and not dataset.features["audio"][hole].any()
    assert dataset.masks["audio"].sum() == len(vision) - 1 and dataset.splits == ("", "", "")
    both = read_pickle(saved(tmp_path / "all.pkl", {"train": misa(3), "dev": misa(2, 3)}), "glove")
    assert both.splits == ("train",) * 3 + ("valid",) * 2


def test_values_that_are_not_finite_are_counted_and_not_measured(tmp_path, raw, caplog):
    raw["train"][0]["audio"][1, 0] = -np.inf
    raw["valid"][0]["vision"][0] = np.nan
    dataset = read_pickle(saved(tmp_path / "a.pkl", mmsa(raw)), "bert")
    assert not dataset.masks["audio"][1] and dataset.masks["audio"].sum() == len(dataset.masks["audio"]) - 1
    assert not dataset.features["audio"][1].any() and np.isfinite(dataset.features["vision"]).all()
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "split 'train': 1 of" in said[0] and "split 'valid': 1 of" in said[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision": [np.zeros((n, 3)) for n in (2, 3, 2)]}, "'train', key 'vision': a list of arrays of unlike"),
        ({"audio_lengths": [1, 1, 1]}, "'train', key 'audio_lengths': there is audio beyond"),
        ({"id": ["a", "b", "c"]}, r"'train', key 'id': entry 0 is 'a'"),
        ({"regression_labels": ["good", "bad", "ugly"]}, "'train', key 'regression_labels': its type is"),
        ({"raw_text": None}, "'train', key 'pieces'"),
        ({"vision": np.zeros((3, 11, 7), np.float32), "vision_lengths": [0, 0, 0]}, "of the splits, .*vision"),
    ],
)  # fmt: skip
def test_the_bad_key_of_a_split_is_named(tmp_path, raw, change, said):
    content = mmsa(raw)
    content["train"] |= change
    if change == {"raw_text": None}:
        content["train"]["text_bert"][:, 1] = 2
        said = "'train', key 'text_bert': its mask"
    with pytest.raises(StoreError, match=said):
        read_pickle(saved(tmp_path / "a.pkl", content), "bert")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds neither splits nor segments"),
        ("text", "holds neither splits nor segments, but a str"),
        ({"train": 3}, "split 'train': int found"),
        ([], "no segments"),
        ([1, 2], r"segment 0: \(\(words"),
        ([(misa(1)[0][0], np.zeros((1, 1)), "odd")], "segment 0: its name is 'odd'"),
        ([((0, np.zeros((2, 3)), np.zeros((3, 3)), ["a", "b"]), np.zeros((1, 1)), "v[0]")], "2 words with vision"),
        ({"train": {"id": ["a$_$b"]}}, "neither this nor any other key holds features"),
    ],
)
def test_pickles_of_something_else(tmp_path, content, said):
    with pytest.raises(StoreError, match=said):
        read_pickle(saved(tmp_path / "a.pkl", content), "bert")


def test_a_list_that_repeats_one_array_is_not_made_larger_than_the_file(tmp_path, raw):
    content = mmsa(raw)
    content["train"]["vision"] = [np.ones((1000, 1000), np.float32)] * 1000
    with pytest.raises(StoreError, match="larger than the file"):
        read_pickle(saved(tmp_path / "a.pkl", content), "bert")
