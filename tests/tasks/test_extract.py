"""Extraction: each segment is measured once, by real workers, and what was measured is in the store."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, fingerprint
from storage.segments import Segment, SegmentId, funnel
from tasks.assets import AssetError
from tasks.extract import Step, extract, instruments, segment_states, usable
from tasks.features.media import MediaError
from tasks.workers import Workers

TEXTS = ("a fine film", "a dull one", "hm", "what a mess it is", "yes", "no")


@dataclass(frozen=True)
class Letters:
    """Measures how long words are, cannot hear ``hm``, and leaves a file in ``calls`` for each text."""

    calls: Path
    hears_all: bool = False
    lacks_model: bool = False

    columns: ClassVar[tuple[str, ...]] = ("letters",)

    def recipe(self) -> dict:
        return {"letters": 1}

    def measure(self, tokens: Sequence[str]) -> Frames:
        tempfile.mkstemp(prefix="_".join(tokens) + ".", dir=self.calls)
        if self.lacks_model and tokens == ["no"]:
            raise AssetError("no model file for 'no'")
        if tokens == ["hm"] and not self.hears_all:
            raise MediaError("silent", "nothing is said")
        lengths = np.array([[len(token)] for token in tokens], np.float32)
        return Frames(lengths, np.arange(len(tokens), dtype=np.float64), np.ones(len(tokens), bool))

    def counted(self) -> Counter[str]:
        return Counter(path.name.split(".")[0].replace("_", " ") for path in self.calls.iterdir())


def segments(*texts: str) -> list[Segment]:
    return [
        Segment(SegmentId("v", str(row)), row, media=f"{row}.mp4", media_sha256=f"{row:064}", text=text)
        for row, text in enumerate(texts, start=2)
    ]


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments(segments(*TEXTS))
    return store


@pytest.fixture
def letters(tmp_path) -> Letters:
    (tmp_path / "calls").mkdir()
    return Letters(tmp_path / "calls")


@pytest.fixture(scope="module", params=["workers of our own", "a running scheduler"])
def workers(request) -> Iterator[Workers]:
    own = request.param == "workers of our own"
    with Workers(None if own else request.getfixturevalue("scheduler")) as workers:
        yield workers


def run(store: FeatureStore, workers: Workers, letters: Letters, retry_failures: bool = False) -> Step:
    return extract.fn(store, workers, "nowhere", "glove", letters, retry_failures)


def test_values_and_failures_are_committed_alike(store, workers, letters):
    step = run(store, workers, letters)
    assert step == Step("glove", fingerprint({"letters": 1}), ("letters",))
    failures = {key: failure for key, failure in store.done("glove", step.fingerprint).items() if failure}
    by_text = {segment.text: step.key(segment) for segment in store.segments()}
    assert failures == {by_text["hm"]: Failure("silent", "nothing is said")}
    spoken = [text for text in TEXTS if text != "hm"]
    found = store.frames("glove", step.fingerprint, [by_text[text] for text in spoken])
    assert {text: found[by_text[text]].values[:, 0].tolist() for text in spoken} == {
        text: [len(token) for token in text.split()] for text in spoken
    }


def test_nothing_is_measured_twice_and_only_what_is_new_is_added(store, workers, letters):
    run(store, workers, letters)
    digest = store.digest()
    run(store, workers, letters)
    assert letters.counted() == Counter(TEXTS) and store.digest() == digest
    store.write_segments(segments(*TEXTS, "but then", "a fine film"))  # the last one is known
    run(store, workers, letters)
    assert letters.counted() == Counter((*TEXTS, "but then"))


def test_one_text_in_two_segments_is_measured_once(tmp_path, workers, letters):
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments(segments("yes", "no", "yes"))
    step = run(store, workers, letters)
    assert letters.counted() == Counter(("yes", "no"))
    assert {state.name for state in segment_states(store, store.segments(), [step])} == {"extracted"}


def test_failures_are_tried_again_when_asked_for(store, workers, letters):
    step = run(store, workers, letters)
    cured = replace(letters, hears_all=True)
    run(store, workers, cured)
    assert letters.counted()["hm"] == 1
    run(store, workers, cured, retry_failures=True)
    assert letters.counted() == Counter((*TEXTS, "hm"))
    assert set(store.done("glove", step.fingerprint).values()) == {None}


def test_what_was_measured_before_a_fault_is_kept(store, workers, letters):
    faulty = replace(letters, lacks_model=True)
    with pytest.raises(AssetError):
        run(store, workers, faulty)
    step = Step("glove", fingerprint(letters.recipe()))
    kept = store.done("glove", step.fingerprint)
    assert 1 <= len(kept) < len(TEXTS)
    run(store, workers, letters)
    assert len(store.done("glove", step.fingerprint)) == len(TEXTS)
    again = letters.counted()
    assert all(again[segment.text] == 1 for segment in store.segments() if step.key(segment) in kept)


@dataclass(frozen=True)
class Turns:
    """Measures which process was asked, and when."""

    columns: ClassVar[tuple[str, ...]] = ("process", "time")

    def recipe(self) -> dict:
        return {"turns": 1}

    def measure(self, path: Path, start: float, end: float) -> Frames:
        return Frames(
            np.array([[os.getpid() % 2**20, time.monotonic() % 2**14]], np.float32), np.zeros(1), np.ones(1, bool)
        )


def test_the_segments_of_one_video_follow_each_other_on_one_worker(tmp_path, workers):
    """In the order of time, whatever that of the label file, so that the video is read once."""
    store = FeatureStore.open(str(tmp_path / "store"))
    places = [(f"v{video}", float(start)) for start in range(9, -1, -1) for video in range(4)]
    rows = [
        Segment(SegmentId(video, str(start)), row, f"{video}.mp4", f"{video:>064}", start, start + 1)
        for row, (video, start) in enumerate(places, 2)
    ]
    store.write_segments(rows)
    step = extract.fn(store, workers, str(tmp_path), "vision", Turns(), False)
    found = store.frames("vision", step.fingerprint, [step.key(segment) for segment in rows])
    turns = {(segment.media, segment.start): found[step.key(segment)].values[0].tolist() for segment in rows}
    in_order = [turns[place] for place in sorted(turns)]
    breaks = sum(
        process != after or then < now for (process, now), (after, then) in zip(in_order, in_order[1:], strict=False)
    )
    assert breaks <= 12, "each worker goes through neighbours, and takes over halves of what others have left"


@dataclass(frozen=True)
class Endings:
    """Measures whether it was given a .wav."""

    columns: ClassVar[tuple[str, ...]] = ("wav",)

    def recipe(self) -> dict:
        return {"endings": 1}

    def measure(self, path: Path, start: float, end: float) -> Frames:
        return Frames(np.array([[path.suffix == ".wav"]], np.float32), np.zeros(1), np.ones(1, bool))


def test_what_is_heard_is_in_the_recording_of_the_sound_where_there_is_one(tmp_path, workers):
    store = FeatureStore.open(str(tmp_path / "store"))
    alone, _ = rows = segments("a", "b")
    rows[1] = replace(rows[1], sound="b.wav", sound_sha256="1" * 64)
    store.write_segments(rows)
    heard = {}
    for feature in ("vision", "audio"):
        step = extract.fn(store, workers, str(tmp_path), feature, Endings(), False)
        found = store.frames(feature, step.fingerprint, [step.key(row) for row in rows])
        heard[feature] = [found[step.key(row)].values[0, 0] for row in rows]
    assert heard == {"vision": [0, 0], "audio": [0, 1]}
    assert Step("audio", "").key(alone) == Step("vision", "").key(alone)


def test_rows_that_ingest_found_wanting_are_not_measured_and_every_row_has_one_state(tmp_path, workers, letters):
    good, silent, bad, again = segments("yes", "hm", "no", "yes")
    bad, again = replace(bad, failure=Failure("bad_id", "a path")), replace(again, excluded="duplicate_row")
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments([good, silent, bad, again])
    assert [segment.id for segment in usable(store)] == [good.id, silent.id]
    step = run(store, workers, letters)
    assert letters.counted() == Counter(("yes", "hm"))
    not_done = Step("vision", "0" * 16, ("smile",))
    assert funnel(segment_states(store, store.segments(), [step, not_done])) == {
        ("pending", "vision", ""): 1,
        ("failed", "glove", "silent"): 1,
        ("failed", "ingest", "bad_id"): 1,
        ("excluded", "", "duplicate_row"): 1,
    }


def test_what_a_result_depends_on_is_what_it_is_known_under():
    one, *_ = segments("yes")
    other_clip, other_text = replace(one, media_sha256="1" * 64), replace(one, text="no")
    for name in ("glove", "bert", "pieces"):
        assert Step(name, "").key(other_clip) == Step(name, "").key(one) != Step(name, "").key(other_text)
    for name in ("vision", "audio"):
        assert Step(name, "").key(other_text) == Step(name, "").key(one) != Step(name, "").key(other_clip)
    assert len({Step("words", "").key(segment) for segment in (one, other_clip, other_text)}) == 3


def test_each_setting_of_an_instrument_is_in_its_recipe():
    def recipes(rate: float | None = None, pitch: tuple[float, float] = (60.0, 500.0)) -> dict[str, str]:
        tools = instruments("all-MiniLM-L6-v2", rate, pitch)
        return {name: fingerprint(tool.recipe()) for name, tool in tools.items()}

    plain = recipes()
    assert recipes(0.0) == plain
    assert list(plain) == ["glove", "bert", "pieces", "vision", "audio"]
    for changes, feature in (({"rate": 5.0}, "vision"), ({"pitch": (100.0, 800.0)}, "audio")):
        assert {name for name, found in recipes(**changes).items() if found != plain[name]} == {feature}
