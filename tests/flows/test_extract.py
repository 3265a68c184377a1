"""Extraction again: other settings, other words, more videos, workers elsewhere; only what must be is measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.extract import Step
from tasks.features.vision import FaceLandmarker
from tasks.pack import PackError
from tests.conftest import REPOSITORY, SEGMENTS
from tests.flows.conftest import Home


def counts(home: Home, **changes) -> dict[str, int]:
    """How many results each step of a run with these changes has."""
    return {step.name: len(home.store.done(step.name, step.fingerprint)) for step in home.steps(**changes)}


def changed(home: Home, **changes) -> list[str]:
    return [new.name for new, old in zip(home.steps(**changes), home.steps(), strict=True) if new != old]


ALL = dict.fromkeys(("words", "glove", "bert", "pieces", "vision", "audio"), SEGMENTS)


def test_other_pitches_are_looked_for_in_the_sound_alone(extracted, tmp_path):
    home, other = extracted.copy(tmp_path / "home"), {"pitch_range": (80.0, 400.0)}
    assert changed(home, **other) == ["audio"] and counts(home, **other) == ALL | {"audio": 0}
    assert home.run(stop_after="extract", **other).is_completed()
    assert counts(home, **other) == counts(home) == ALL


def test_a_modality_is_extracted_alone_and_nothing_is_packed_without_the_others(extracted, tmp_path):
    home = extracted.copy(tmp_path / "home")
    other = {"pitch_range": (80.0, 400.0), "frames_per_second": 2.0}
    state = home.run(modalities=["audio"], stop_after="validate", **other)
    assert isinstance(state.result(raise_on_failure=False), PackError)
    assert f"vision of {SEGMENTS} segments" in state.message
    assert counts(home, **other) == ALL | {"vision": 0}
    assert home.store.published() is None


def test_another_aligner_makes_other_words_and_no_other_frame(finished, ctc_model, tmp_path):
    home = finished.copy(tmp_path / "home")
    frames, before = home.steps()[1:], home.store.published()
    digests = {step.name: feature_digest(home, step) for step in frames}
    assert home.run(aligner=str(ctc_model), stop_after="validate").is_completed()
    assert changed(home, aligner=str(ctc_model)) == ["words"]
    assert {step.name: feature_digest(home, step) for step in frames} == digests
    after = home.store.published()
    assert after.fingerprint != before.fingerprint
    old, new = (home.store.aligned(published.fingerprint, at=published.tag) for published in (before, after))
    assert old.words == new.words and not np.array_equal(old.starts, new.starts)
    assert np.array_equal(old.features["glove"], new.features["glove"])
    assert not np.array_equal(old.features["audio"], new.features["audio"]), "pooled into other words"


def feature_digest(home: Home, step: Step) -> tuple:
    """What the store holds of a feature."""
    keys = sorted(home.store.done(step.name, step.fingerprint))
    found = home.store.frames(step.name, step.fingerprint, keys)
    return tuple((key, found[key].values.tobytes(), found[key].times.tobytes()) for key in keys)


def test_ten_more_videos_are_ten_more_extractions(extracted, corpus_with, tmp_path):
    def with_more(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        more = [row | {"video_id": f"more{number}", "clip_id": "1"} for number, row in enumerate(rows[:10])]
        return rows + more

    raw = corpus_with(with_more)
    for number, clip in enumerate(sorted((raw / "Raw").glob("*/*.mp4"))[:10]):
        copy = raw / "Raw" / f"more{number}" / "1.mp4"
        copy.parent.mkdir()
        shutil.copy(clip, copy)
        with copy.open("ab") as file:  # an empty box at the end: other bytes, the same film
            file.write(b"\x00\x00\x00\x08free")
    home = extracted.copy(tmp_path / "home", raw)
    assert home.run(stop_after="extract").is_completed()
    ten_more = SEGMENTS + 10
    assert counts(home) == ALL | {"words": ten_more, "vision": ten_more,
                            "audio": ten_more}, "texts that were known need no new vectors"  # fmt: skip


@pytest.fixture
def workers_elsewhere(tmp_path) -> Iterator[str]:
    """The address of a scheduler with two workers, processes of their own in another folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "distributed.cli.dask_"]

    def start(program: str, *options: str) -> subprocess.Popen:
        line = [*command[:2], command[2] + program, "--scheduler-file", "scheduler.json", "--no-dashboard", *options]
        return subprocess.Popen(line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0")]
    processes += [start("worker", "--nthreads", "1", "--host", "127.0.0.1") for _ in range(2)]
    try:
        deadline = time.monotonic() + 120
        while not (folder / "scheduler.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield (folder / "scheduler.json").read_text().split('"address": "')[1].split('"')[0]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def test_workers_that_do_not_have_the_raw_folder_get_it_by_an_address(extracted, workers_elsewhere, serve, tmp_path):
    home = extracted.copy(tmp_path / "home")
    run = {"dask": workers_elsewhere, "raw_on_workers": serve(home.raw), "stop_after": "extract"}
    assert home.run(frames_per_second=2.0, **run).is_completed()
    assert counts(home, frames_per_second=2.0) == ALL
    segment = home.store.segments()[0]
    (vision,) = (step for step in home.steps(frames_per_second=2.0) if step.name == "vision")
    expected = FaceLandmarker(frames_per_second=2.0).measure(home.raw / segment.media)
    found = home.store.frames("vision", vision.fingerprint, [vision.key(segment)])[vision.key(segment)]
    np.testing.assert_array_equal(found.values, expected.values)


def test_workers_see_the_raw_folder_where_it_is_mounted_there(extracted, tmp_path):
    home, mount = extracted.copy(tmp_path / "home"), tmp_path / "mount"
    changes = {"pitch_range": (80.0, 400.0), "stop_after": "extract"}
    state = home.run(raw_on_workers=str(mount), **changes)
    assert state.is_failed() and f"has no folder {mount}" in state.message
    assert counts(home, pitch_range=(80.0, 400.0))["audio"] == 0, "and no segment is to blame"
    Path(mount).symlink_to(home.raw)
    assert home.run(raw_on_workers=str(mount), **changes).is_completed()
    assert counts(home, pitch_range=(80.0, 400.0)) == ALL
