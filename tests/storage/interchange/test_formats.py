"""Whatever a data set is written as, the same comes back; formats are told by content; nothing is half-written."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import aligned
from storage.interchange import formats
from storage.schema import AlignedDataset, StoreError
from tests.storage.interchange.test_pickles import misa
from tests.storage.store_records import some_dataset, some_unaligned

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\0"), max_size=5)
splits = st.sampled_from(["train", "valid", "test"])


@st.composite
def data_sets(draw: st.DrawFn) -> AlignedDataset:
    """Any numbers and words, word-aligned or with frames of their own."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = st.floats(-3, 3, width=32) | st.just(np.nan)
    segments = draw(st.lists(st.tuples(st.integers(0, 4), labels, splits), min_size=1, max_size=4))
    counts, labels, of_split = zip(*segments, strict=True)
    ids = [f"v{draw(texts)}$_${place}" for place in range(len(counts))]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = random.integers(0, 5, len(counts))
    words, rows = sum(counts), int(frames.sum())
    name, unaligned = draw(st.sampled_from(["glove", "bert"])), draw(st.booleans())
    sizes = {name: (words, 2), "vision": (rows if unaligned else words, 3)}
    return AlignedDataset(
        ids=tuple(ids),
        videos=tuple(one.rsplit("$_$", 1)[0] for one in ids),
        labels=np.array(labels, np.float32),
        splits=of_split,
        offsets=np.cumsum([0, *counts]),
        words=tuple(draw(texts) for _ in range(words)),
        starts=random.random(words),
        ends=np.full(words, np.nan),
        features={key: random.normal(size=size).astype(np.float32) for key, size in sizes.items()},
        masks={key: random.random(size[0]) < 0.5 for key, size in sizes.items()},
        columns={key: tuple(f"{key}{draw(texts)}{column}" for column in range(size[1])) for key, size in sizes.items()},
        frame_offsets={"vision": np.cumsum([0, *frames])} if unaligned else {},
        frame_times={"vision": random.random(rows)} if unaligned else {},
    )


@pytest.mark.parametrize("form", formats.WRITTEN)
@settings(max_examples=25)
@given(data_sets())
def test_out_and_in_changes_no_number_word_or_name(tmp_path_factory, form, dataset):
    path = tmp_path_factory.mktemp("formats") / "data"
    formats.write(dataset, path, form, "glove")
    assert aligned.digest(formats.read(path, "glove")) == aligned.digest(dataset)
    assert os.listdir(path.parent) == ["data"]


@pytest.mark.real_data
def test_the_real_mosi_split_out_and_in_as_every_format(shared_data, tmp_path):
    dataset = formats.read(shared_data / "mosi" / "dev_aligned_50.npz", "glove")
    dataset = replace(dataset, splits=tuple(("train", "valid", "test")[row % 3] for row in range(len(dataset.ids))))
    for form in formats.WRITTEN:
        formats.write(dataset, tmp_path / form, form, "glove")
        assert aligned.digest(formats.read(tmp_path / form, "glove")) == aligned.digest(dataset)


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(StoreError, match="mine is there already") as caught:
        formats.write(some_dataset(), tmp_path / "mine", "npz", "glove")
    assert caught.value.reason == "exists" and (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("form", formats.WRITTEN)
def test_a_writing_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, form):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full_disk)
    dataset = replace(some_unaligned(), splits=("train",) * 4)
    with pytest.raises(OSError, match="No space left"):
        formats.write(dataset, tmp_path / "deep" / "data", form, "glove")
    assert not list((tmp_path / "deep").iterdir())


def test_a_folder_with_a_file_a_split(tmp_path):
    """As MISA leaves them; other files in it are not read, whatever they are."""
    for name, first, count in (("train", 0, 3), ("dev", 3, 2), ("test", 5, 1)):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(misa(count, first)))
    (tmp_path / "embedding_and_mapping.pt").write_bytes(b"PK\x03\x04")
    dataset = formats.read(tmp_path, "glove")
    of_split = {split: [name for name, own in zip(dataset.ids, dataset.splits, strict=True) if own == split]
                for split in dataset.splits}  # fmt: skip
    assert of_split == {
        "train": ["v$_$0", "v$_$1", "v$_$2"],
        "valid": ["v$_$3", "v$_$4"],
        "test": ["v$_$5"],
    }


@pytest.mark.parametrize("content", [b"", b"id,text\n1,a", b"\x89HDF\r\n\x1a\n"])
def test_what_is_of_no_format_is_refused_with_the_formats(tmp_path, content):
    (tmp_path / "features.npz").write_bytes(content)
    with pytest.raises(StoreError, match=r"features\.npz is of no format that is read: npz, mmsa, csd, zarr, hugg"):
        formats.read(tmp_path / "features.npz", "glove")
    with pytest.raises(StoreError, match="is of no format"):
        formats.read(tmp_path, "glove")


def test_formats_are_told_by_content_and_not_by_name(tmp_path):
    formats.write(some_dataset(), tmp_path / "features.npz", "mmsa", "glove")
    assert formats.detect(tmp_path / "features.npz") is formats.FORMATS["mmsa"]


def test_hugging_face_has_a_row_a_segment_and_a_card_of_every_split(tmp_path):
    dataset = replace(some_unaligned(), splits=("train", "valid", "train", "test"))
    formats.write(dataset, tmp_path / "hf", "huggingface", "glove")
    table = pq.read_table(tmp_path / "hf" / "data" / "train-00000-of-00001.parquet")
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [dataset.ids[0], dataset.ids[2]]
    assert rows[0]["words"] == list(dataset.words[:3]) and len(rows[0]["vision"]) == 7 and len(rows[0]["glove"]) == 3
    np.testing.assert_array_equal(np.array(rows[0]["vision"], np.float32), dataset.features["vision"][:7])
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "split: validation\n    path: data/validation-00000-of-00001.parquet" in card
    assert "| `vision` | 3 | frames |" in card and "| `glove` | 4 | words |" in card


def test_a_split_that_hugging_face_cannot_name_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no split ''"):
        formats.write(some_dataset(), tmp_path / "hf", "huggingface", "glove")
    assert not list(tmp_path.iterdir())


def test_damaged_folders_are_refused_by_name(tmp_path):
    dataset = replace(some_dataset(), splits=("train",) * 4)
    formats.write(dataset, tmp_path / "hf", "huggingface", "glove")
    (file,) = (tmp_path / "hf" / "data").iterdir()
    whole = file.read_bytes()
    for content in (whole[:100], whole[: len(whole) // 2] + whole[len(whole) // 2 + 1 :], b""):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"train-00000-of-00001\.parquet"):
            formats.read(tmp_path / "hf", "glove")

    formats.write(dataset, tmp_path / "zarr", "zarr", "glove")
    header = tmp_path / "zarr" / "zarr.json"
    kept = header.read_text()
    changed = json.loads(kept)
    changed["attributes"]["sha256"] = "0" * 32
    for text in (json.dumps(changed), "{", kept.replace("columns", "rows")):
        header.write_text(text)
        with pytest.raises(StoreError):
            formats.read(tmp_path / "zarr", "glove")
    header.write_text(kept)
    Path(next((tmp_path / "zarr" / "labels" / "c").iterdir())).write_bytes(b"rubbish")
    with pytest.raises(StoreError):
        formats.read(tmp_path / "zarr", "glove")
