"""Ingest: each row gets the recording that belongs to it, and nothing outside of the raw folder is opened."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.interchange import formats
from storage.schema import StoreError, Word
from tasks import ingest
from tasks.ingest import import_features
from tasks.labels import LabelError
from tests.tasks.labelled_data import labelled_data
from tests.tasks.raw_folders import corpus, failures, read_segments


@pytest.mark.parametrize("root", ["Raw/", ""])
def test_finds_media_in_both_layouts(tmp_path, root):
    raw = corpus(tmp_path, f"{root}v/1.mp4", f"{root}v/1.5.MPG", f"{root}-w/01.avi", rows="v,1,a\nv,1.5,b\n-w,01,c\n")
    segments = read_segments(raw)
    assert [segment.media for segment in segments] == [f"{root}v/1.mp4", f"{root}v/1.5.MPG", f"{root}-w/01.avi"]
    assert segments[0].media_sha256 == hashlib.sha256(f"{root}v/1.mp4".encode()).hexdigest()
    assert (segments[0].start, segments[0].end) == (0, math.inf)
    assert not failures(segments)


def test_interval_counts_within_a_full_video_only(tmp_path):
    raw = corpus(tmp_path, "Raw/v.mp4", "Raw/v/3.mp4")
    rows = "v,1,a,0.5,2\nv,2,b,,\nv,3,c,7,9\nv,4,d,5,5\n"
    (raw / "label.csv").write_text("video_id,clip_id,text,start_sec,end_sec\n" + rows)
    first, second, third, fourth = read_segments(raw)
    assert (first.media, first.start, first.end) == ("Raw/v.mp4", 0.5, 2)
    assert (third.media, third.start, third.end) == ("Raw/v/3.mp4", 0, math.inf)
    assert second.failure.reason == fourth.failure.reason == "bad_interval"


def test_missing_and_ambiguous_media_fail_and_the_rest_goes_on(tmp_path):
    raw = corpus(
        tmp_path, "Raw/v/1.mp4", "Raw/v/2.mp4", "Raw/v/2.avi", "Raw/v/4.txt", rows="v,1,a\nv,2,b\nv,3,c\nv,4,d\n"
    )
    segments = read_segments(raw)
    assert failures(segments) == {"v$_$2": "ambiguous_media", "v$_$3": "missing_media", "v$_$4": "missing_media"}
    assert segments[2].failure.message.startswith("row 4: no recording v/3.mp4")


def test_ids_never_walk(tmp_path):
    """Files outside of the raw folder exist where the ids would lead, and are not taken."""
    corpus(tmp_path, "outside/1.mp4", "raw/Raw/v/1.mp4", "raw/1.mp4")
    rows = f"../../outside,1,a\n{tmp_path}/outside,1,b\nv,../../../outside/1,c\nv,1,d\n..,1,e\n"
    segments = read_segments(corpus(tmp_path / "raw", rows=rows))
    assert [segment.media for segment in segments] == ["", "", "", "Raw/v/1.mp4", ""]
    assert set(failures(segments).values()) == {"bad_id"}


def test_links_are_followed_to_regular_files_only(tmp_path):
    corpus(tmp_path, "elsewhere/w/1.mp4")
    raw = corpus(tmp_path / "raw", "Raw/v/plain.mp4", rows="".join(f"v,{name},a\n" for name in "123456") + "w,1,a\n")
    (raw / "Raw/w").symlink_to(tmp_path / "elsewhere/w")
    (raw / "Raw/v/1.mp4").symlink_to(tmp_path / "elsewhere/w/1.mp4")
    (raw / "Raw/v/2.mp4").symlink_to("/dev/zero")
    (raw / "Raw/v/3.mp4").symlink_to(tmp_path / "gone")
    (raw / "Raw/v/4.mp4").mkdir()
    os.mkfifo(raw / "Raw/v/5.mp4")
    (raw / "Raw/v/6.mp4").symlink_to("6.mp4")
    segments = read_segments(raw)
    assert failures(segments) == {f"v$_${name}": "not_regular_file" for name in "23456"}
    assert segments[0].media_sha256 == segments[-1].media_sha256 != ""


def test_names_are_compared_in_one_unicode_form(tmp_path):
    raw = corpus(tmp_path, "Raw/cafe\u0301/1.mp4", rows="caf\u00e9,1,a\n")
    assert read_segments(raw)[0].media == "Raw/cafe\u0301/1.mp4"


def test_bad_rows_stay_and_are_not_looked_for(tmp_path):
    raw = corpus(tmp_path, "Raw/v/1.mp4", rows="v,1,a\nv,1,a\n..,2,b\n")
    first, repeated, bad = read_segments(raw)
    assert first.media and not first.excluded
    assert (repeated.excluded, repeated.media_sha256) == ("duplicate_row", "")
    assert bad.failure.reason == "bad_id"


def test_media_without_label_file_are_told_what_it_looks_like(tmp_path):
    with pytest.raises(LabelError, match="video_id,clip_id,text") as caught:
        read_segments(corpus(tmp_path, "Raw/v/1.mp4"))
    assert caught.value.reason == "missing"
    with pytest.raises(LabelError, match="no folder"):
        read_segments(tmp_path / "gone")


def test_media_without_a_row_are_logged(tmp_path, caplog):
    raw = corpus(tmp_path, "Raw/v/1.mp4", "Raw/v/2.mp4", "Raw/w/1.mp4", rows="v,1,a\n")
    with caplog.at_level(logging.WARNING, "tasks.ingest"):
        read_segments(raw)
    assert "2 recordings have no row" in caplog.text
    assert "v/2.mp4" in caplog.text


def test_given_words_come_from_beside_the_clip(tmp_path):
    raw = corpus(tmp_path, "Raw/v/1.mp4", "Raw/v/2.mp4", "Raw/v/3.mp4", rows="v,1,Bin BLUE!\nv,2,bin red\nv,3,bin\n")
    for clip in "12":
        (raw / f"Raw/v/{clip}.align").write_text("0 25000 sil\n25000 37500 bin\n37500 50000 blue\n")
    (raw / "Raw/v/3.align").write_text("0 25000\n")
    segments = read_segments(raw)
    assert segments[0].given_words == (Word("bin", 1.0, 1.5), Word("blue", 1.5, 2.0))
    assert failures(segments) == {"v$_$2": "words_differ", "v$_$3": "bad_word_times"}
    assert "'bin red' is not 'bin blue'" in segments[1].failure.message


def test_inventory_spares_reading_unchanged_media(tmp_path, monkeypatch):
    raw = corpus(tmp_path / "raw", "Raw/v/1.mp4", "Raw/v/2.mp4", "Raw/v/3.mp4", rows="v,1,a\nv,2,b\nv,3,c\n")
    inventory = tmp_path / "home" / "inventory.json"
    first = read_segments(raw, inventory=inventory)
    opened = []
    hash_file = ingest._hash
    monkeypatch.setattr(ingest, "_hash", lambda path, name: opened.append(name) or hash_file(path, name))
    assert read_segments(raw, inventory=inventory) == first
    assert opened == []
    (raw / "Raw/v/2.mp4").write_text("other bytes")
    os.utime(raw / "Raw/v/2.mp4", (2e9 - 1e9, 1.1e9))
    again = read_segments(raw, inventory=inventory)
    assert opened == ["Raw/v/2.mp4"]
    assert again[1].media_sha256 == hashlib.sha256(b"other bytes").hexdigest()
    assert (again[0], again[2]) == (first[0], first[2])
    assert [path.name for path in inventory.parent.iterdir()] == ["inventory.json"]


def test_fresh_files_are_not_remembered(tmp_path):
    """A file may change twice within one tick of the clock of the file system."""
    raw = corpus(tmp_path / "raw", "Raw/v/1.mp4", rows="v,1,a\n")
    inventory = tmp_path / "inventory.json"
    os.utime(raw / "Raw/v/1.mp4")
    read_segments(raw, inventory=inventory)
    assert not inventory.exists() or json.loads(inventory.read_text()) == {}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"Raw/v/1.mp4": 3}', b'{"Raw/v/1.mp4": [12, 0, "x"]}']
)
def test_damaged_inventory_is_made_anew(tmp_path, caplog, content):
    raw = corpus(tmp_path / "raw", "Raw/v/1.mp4", rows="v,1,a\n")
    inventory = tmp_path / "inventory.json"
    inventory.write_bytes(content)
    expected = hashlib.sha256(b"Raw/v/1.mp4").hexdigest()
    assert read_segments(raw, inventory=inventory)[0].media_sha256 == expected
    assert "is damaged" in caplog.text
    assert json.loads(inventory.read_text())["Raw/v/1.mp4"][2] == expected


@pytest.mark.real_data
def test_grid_clips_and_their_word_times(shared_data, tmp_path):
    """The eleven real clips as a data set without labels: each found, the two with word times have them."""
    grid = shared_data / "grid"
    rows = [line.split("\t") for line in (grid / "transcripts.tsv").read_text().splitlines()]
    for name, _ in rows:
        folder = tmp_path / "Raw" / name[:4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(grid / name)
        source = grid / f"{Path(name).stem.split('_')[-1]}.align"
        if source.exists():
            shutil.copy(source, folder / f"{Path(name).stem}.align")
    lines = [f"{name[:4]},{Path(name).stem},{text}\n" for name, text in rows]
    segments = read_segments(corpus(tmp_path, rows="".join(lines)))
    assert not failures(segments)
    assert len(segments) == len({segment.media_sha256 for segment in segments}) == 11
    assert [len(segment.given_words) for segment in segments] == [
        6 if segment.id.clip in ("bbaf2n", "id2_vcd_swwp2s") else 0 for segment in segments
    ]


def imported(store: FeatureStore, path: Path, errata: bool = True, text_encoder: str | None = None) -> str:
    return import_features.fn(store, path, "glove", None, errata, text_encoder)


def test_features_are_imported_once_and_split_where_they_are_not(tmp_path):
    store = FeatureStore.open(str(tmp_path / "store"))
    dataset = replace(labelled_data(), splits=("",) * 21)
    formats.write(dataset, tmp_path / "features", "zarr", "glove")
    name = imported(store, tmp_path / "features")
    found = store.aligned(name, at="staging")
    assert found.words == dataset.words and set(found.splits) == {"train", "valid", "test"}
    assert imported(store, tmp_path / "features") == name
    formats.write(labelled_data(seed=1), tmp_path / "others", "zarr", "glove")
    assert imported(store, tmp_path / "others") != name


def test_features_that_are_not_there_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="there is no .*nowhere"):
        imported(FeatureStore.open(str(tmp_path / "store")), tmp_path / "nowhere")


def mosi_features(path: Path, first_clip: int = 1) -> Path:
    """Features of segments that are called as some of CMU-MOSI, two of them known to be wrong."""
    names = ["2WGyTLYerpo$_$44", "d6hH302o4v8$_$34", *(f"03bSnISJMiM$_${first_clip + number}" for number in range(19))]
    data = replace(labelled_data(), ids=tuple(names), videos=tuple(name.split("$_$")[0] for name in names))
    formats.write(data, path, "npz", "glove")
    return path


@pytest.mark.parametrize("applied", [True, False])
def test_known_errors_of_imported_features_are_left_out_or_refused_and_told(tmp_path, applied):
    store = FeatureStore.open(str(tmp_path / "store"))
    name = imported(store, mosi_features(tmp_path / "mosi.npz"), errata=applied)
    found, whole = store.aligned(name, at="staging"), formats.read(tmp_path / "mosi.npz", "glove")
    assert found.ids == (whole.ids[2:] if applied else whole.ids)
    for feature in whole.features:
        assert np.array_equal(found.take([0]).features[feature], whole.take([2 if applied else 0]).features[feature])
    errata = store.aligned_source(name)["errata"]
    assert [(each["video"], each["clip"]) for each in errata] == [("2WGyTLYerpo", "44"), ("d6hH302o4v8", "34")]
    assert {each["action"] for each in errata} == {"exclude" if applied else "refused"}
    assert imported(store, tmp_path / "mosi.npz", errata=not applied) != name


def test_known_errors_of_clips_are_not_looked_for_where_clips_are_numbered_otherwise(tmp_path, caplog):
    store = FeatureStore.open(str(tmp_path / "store"))
    name = imported(store, mosi_features(tmp_path / "mosi.npz", first_clip=0))
    assert len(store.aligned(name, at="staging").ids) == 21 and not store.aligned_source(name)["errata"]
    assert "numbered from 0" in caplog.text
