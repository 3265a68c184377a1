"""The flow from raw video to a page, on real clips: what it leaves, what it does not do twice, and what stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows.parameters import Stage
from storage.feature_store import FeatureStore
from storage.segments import SegmentId, funnel
from tasks.align import forced_against_given
from tasks.features.words import read_align
from tasks.validate import GateRefused
from tests.conftest import REPOSITORY, SEGMENTS
from tests.flows.conftest import ENCODER, NAME, Home
from tests.flows.spoilt_media import cut, grey, noise, silence


def figures(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg (?!class).*?</svg>", page, flags=re.DOTALL)]


def assert_self_contained(page: str) -> None:
    """Nothing is loaded from elsewhere, and the only links are within this data set's folder."""
    loaded = re.findall(r"""(?:\ssrc|xlink:href|\shref)\s*=\s*["']([^"']+)""", page) + re.findall(r"url\(([^)]+)", page)
    assert loaded and all(re.match(r"#|data:image/|docs/|report\.html$|report-figures/", address) for address in loaded)
    assert not re.search(r"<script\s|<(link|iframe|object|embed|base)\b|@import", page)


# Through


def test_a_run_ends_with_a_self_contained_page_that_shows_everything(finished):
    page = finished.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    for heading in (
        "The data set passed its checks",
        "Results on the test split",
        "What the graph distillation units learned",
        "From label rows to samples",
        "Alignment against the true word times",
        "One segment, word by word",
    ):
        assert heading in page
    # funnel, labels, lengths, boundaries, curves, confusion, predictions, edges (2), unimodal heads, spaces, example
    assert len(figures(page)) == 12
    assert all(len(list(figure.iter())) > 20 for figure in figures(page))
    assert f"{SEGMENTS} segments of 3 videos" in page


def test_what_is_published_is_what_was_said_and_labelled(finished, corpus):
    data = finished.store.aligned(finished.store.published().fingerprint)
    segments = {str(segment.id): segment for segment in finished.store.segments()}
    assert data.ids == tuple(segments)
    assert data.words == tuple(token for segment in segments.values() for token in segment.text.split())
    assert data.labels.tolist() == pytest.approx([segment.label for segment in segments.values()])
    assert set(data.features) == {"glove", "bert", "pieces", "vision", "audio"}
    assert all(np.isfinite(values).all() and values.std() > 0 for values in data.features.values())


def test_forced_words_lie_near_the_true_ones(finished):
    errors = forced_against_given(finished.store, finished.steps()[0])
    assert len(errors) == 2 * sum(len(segment.text.split()) for segment in finished.store.segments())
    assert (errors <= 0.05).mean() >= 0.9


def test_the_stages_end_where_they_are_told_to(after):
    assert all(stage.completed and stage.segments == SEGMENTS for stage in after.values())
    features = {"glove", "bert", "pieces", "vision", "audio"}
    assert [set(after[stage].steps) for stage in get_args(Stage)] == [set(), {"words"}, *[{"words"} | features] * 3]
    assert [after[stage].packed for stage in get_args(Stage)] == [False, False, False, True, True]
    assert [after[stage].published for stage in get_args(Stage)] == [False, False, False, True, True]
    assert [after[stage].page for stage in get_args(Stage)] == [False, False, False, True, True]
    assert [after[stage].trained for stage in get_args(Stage)] == [False, False, False, False, True]


def test_prefect_shows_the_tables_and_the_progress(finished):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
    kinds = Counter(artifact.type for artifact in found)
    assert {"dataset", "funnel", "results", "report"} <= {artifact.key for artifact in found}
    assert kinds["progress"] >= 6, "words, four features, one training"
    assert {
        artifact.data for artifact in found if artifact.type == "progress" and "train" not in artifact.description
    } == {100.0}


# Again


def test_a_second_run_does_nothing_twice(finished):
    snapshots, results, page = finished.snapshots(), finished.results, finished.page.stat().st_mtime_ns
    assert finished.run().is_completed()
    assert finished.snapshots() == snapshots
    assert finished.results == results and len(results) == 1
    assert finished.page.stat().st_mtime_ns == page


def test_other_eyes_measure_the_face_alone_and_the_old_ones_are_remembered(extracted, tmp_path):
    home = extracted.copy(tmp_path / "home")
    before = {step.name: home.store.done(step.name, step.fingerprint) for step in home.steps()}
    assert home.run(frames_per_second=2.0, stop_after="extract").is_completed()
    new = home.steps(frames_per_second=2.0)
    changed = [step for step, old in zip(new, home.steps(), strict=True) if step.fingerprint != old.fingerprint]
    assert [step.name for step in changed] == ["vision"]
    assert home.store.done("vision", changed[0].fingerprint) == before["vision"]
    snapshots = home.snapshots()
    assert home.run(stop_after="extract").is_completed()
    assert home.snapshots() == snapshots
    assert {step.name: home.store.done(step.name, step.fingerprint) for step in home.steps()} == before


def test_frames_that_are_not_pooled_are_published_checked_trained_on_and_shown(unpooled):
    home = unpooled
    data = home.store.aligned(home.store.published().fingerprint)
    assert data.frame_offsets.keys() == {"pieces", "vision", "audio"} and len(data.ids) == SEGMENTS
    for name in ("vision", "audio"):
        times, (first, stop) = data.frame_times[name], data.frame_offsets[name][:2]
        assert stop - first > data.offsets[1] and (np.diff(times[first:stop]) > 0).all()
    (result,) = home.results
    config = json.loads(result.with_name("config.json").read_text())["config"]
    assert config["lengths"][2] == min(500, np.diff(data.frame_offsets["audio"]).max())
    page = home.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "% of frames" in page and "a value for each frame" in page
    assert "was measured during at least 50% of the frames" in "".join(
        path.read_text() for path in (home.folder / NAME / "docs" / "validations").glob("**/*.html")
    )


# Refused


@pytest.fixture
def spoilt(corpus_with) -> tuple[Path, dict[str, str]]:
    """A corpus with six bad rows, and the reason that each must get by its id."""
    reasons: dict[str, str] = {}

    def spoil(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        videos = {row["video_id"]: [r for r in rows if r["video_id"] == row["video_id"]] for row in rows}
        (first, second), (third, fourth), (fifth, sixth) = (those[:2] for those in videos.values())
        fifth["clip_id"] = "../x"
        sixth["text"] = "-- ..."
        for row, reason in (
            (first, "truncated"),
            (second, "unreadable"),
            (third, "silent"),
            (fourth, "no_face"),
            (fifth, "bad_id"),
            (sixth, "no_alignable_word"),
        ):
            reasons[str(SegmentId(row["video_id"], row["clip_id"]))] = reason
        return rows

    raw = corpus_with(spoil)
    clips = [raw / "Raw" / Path(*identifier.split("$_$")).with_suffix(".mp4") for identifier in reasons]
    for clip, damage in zip(clips, (cut, noise, silence, grey), strict=False):
        damage(clip)
    clips[5].with_suffix(".align").unlink()  # its words are those that were there before
    return raw, reasons


def test_bad_rows_fail_with_their_reasons_and_the_others_go_on(finished, spoilt, tmp_path):
    raw, reasons = spoilt
    home = finished.copy(tmp_path / "home", raw)
    published, results = home.store.published(), home.results
    state = home.run()
    assert state.is_failed()
    refusal = state.result(raise_on_failure=False)
    assert isinstance(refusal, GateRefused)
    assert all(reason in str(refusal) for reason in reasons.values()), str(refusal)

    states = home.states()
    assert {name: state.reason for name, state in states.items() if state.name == "failed"} == reasons
    assert Counter(state.name for state in states.values()) == {"extracted": SEGMENTS - 6, "failed": 6}
    assert sum(funnel(list(states.values())).values()) == SEGMENTS

    # readers keep what they had
    assert home.store.published() == published and home.results == results
    assert len(home.store.aligned(published.fingerprint).ids) == SEGMENTS
    page = home.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "The data set was refused" in page and "not published" in page
    assert all(identifier in page and reason in page for identifier, reason in reasons.items())

    # who accepts that half of it is lost gets the rest
    assert home.run(min_coverage=0.5).is_completed()
    accepted = home.store.aligned(home.store.published().fingerprint)
    assert set(accepted.ids) == {name for name, state in states.items() if state.name == "extracted"}
    assert len(home.results) == 2
    assert "The data set passed its checks" in home.page.read_text(encoding="utf-8")


def test_a_data_set_of_nothing_but_failures_is_refused_like_any_other(extracted, corpus_with, tmp_path):
    def unspeakable(rows):
        return [row | {"text": "..."} for row in rows]

    raw = corpus_with(unspeakable)
    for path in raw.rglob("*.align"):
        path.unlink()
    home = extracted.copy(tmp_path / "home", raw)
    state = home.run()
    assert isinstance(state.result(raise_on_failure=False), GateRefused)
    assert {state.reason for state in home.states().values()} == {"no_alignable_word"}
    assert home.store.published() is None and not home.results
    page = home.page.read_text(encoding="utf-8")
    assert "The data set was refused" in page and page.count("no_alignable_word") > SEGMENTS


def test_a_folder_without_a_label_file_is_a_sentence(prefect_server, scheduler, tmp_path):
    (tmp_path / "raw").mkdir()
    state = Home(tmp_path / "home", tmp_path / "raw", scheduler).run()
    assert state.is_failed() and "has no label.csv" in state.message


# Other data


def test_a_data_set_without_labels_is_published_and_not_trained(extracted, corpus_with, tmp_path):
    """And the word times that came with it are taken where they are trusted."""
    raw = corpus_with(lambda rows: [{name: row[name] for name in ("video_id", "clip_id", "text")} for row in rows])
    home = extracted.copy(tmp_path / "home", raw)
    assert home.run(trust_word_times=True).is_completed()
    data = home.store.aligned(home.store.published().fingerprint)
    assert len(data.ids) == SEGMENTS and np.isnan(data.labels).all()
    true = [
        word for segment in home.store.segments() for word in read_align((raw / segment.media).with_suffix(".align"))
    ]
    assert data.words == tuple(word.text for word in true)
    assert data.starts.tolist() == [word.start for word in true] and data.ends.tolist() == [word.end for word in true]
    assert not (home.folder / "tiny" / "models").exists()
    page = home.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "Results on the test split" not in page and "Alignment against the true word times" not in page


@pytest.mark.real_data
def test_real_clips_without_labels_come_through(shared_data, prefect_server, scheduler, tmp_path):
    """Eleven clips of GRID, ten speakers; two of them have true word times."""
    grid, raw = shared_data / "grid", tmp_path / "raw"
    rows = ["video_id,clip_id,text"]
    for number, line in enumerate((grid / "transcripts.tsv").read_text().splitlines()):
        name, text = line.split("\t")
        folder = raw / "Raw" / f"speaker{number}"
        folder.mkdir(parents=True)
        (folder / name).symlink_to(grid / name)
        times = grid / f"{Path(name).stem.split('_')[-1]}.align"
        if times.exists():
            (folder / name).with_suffix(".align").symlink_to(times)
        rows.append(f"speaker{number},{Path(name).stem},{text}")
    (raw / "label.csv").write_text("\n".join(rows))
    home = Home(tmp_path / "home", raw, scheduler)
    assert home.run().is_completed()
    data = home.store.aligned(home.store.published().fingerprint)
    assert len(data.ids) == 11 and not home.results
    errors = forced_against_given(home.store, home.steps()[0])
    assert len(errors) == 24 and (errors <= 0.05).mean() >= 0.9
    page = home.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert f"{100 * (errors <= 0.05).mean():.1f} %" in page and "Alignment against the true word times" in page


@pytest.mark.real_data
def test_real_features_are_imported_and_learnt_from(shared_data, prefect_server, tmp_path):
    """The valid split of CMU-MOSI as the field uses it: 229 segments of 10 videos."""
    home = Home(tmp_path / "home", None, "")
    changes = {"raw": None, "features": shared_data / "mosi" / "dev_aligned_50.npz", "dask": None}
    assert home.run(**changes).is_completed()
    data = home.store.aligned(home.store.published().fingerprint)
    by_split = {
        split: {v for v, s in zip(data.videos, data.splits, strict=True) if s == split} for split in data.splits
    }
    assert {split: len(videos) for split, videos in by_split.items()} == {"train": 6, "valid": 3, "test": 1}
    (result,) = home.results
    assert set(json.loads(result.read_text())["predictions"]["test"]) == {
        name for name, split in zip(data.ids, data.splits, strict=True) if split == "test"
    }
    page = home.page.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "Results on the test split" in page and "228 segments of 10 videos" in page  # an erratum leaves one out


# Interrupted


GOOD_EYES = 10.0  # pictures a second: a recipe of its own, so that only vision is to be done
COMMITTING_TWO = """
import time
import tasks.extract
from flows.cli import main
from storage.feature_store import FeatureStore

commits, append = [], FeatureStore.append

def append_and_wait(store, feature, *rest):
    append(store, feature, *rest)
    commits.append(feature)
    if commits.count("vision") == 2:
        time.sleep(600)  # to be interrupted

tasks.extract.COMMIT_SECONDS, FeatureStore.append = 0, append_and_wait
main()
"""


@pytest.fixture(scope="module")
def undisturbed(extracted, tmp_path_factory) -> Home:
    home = extracted.copy(tmp_path_factory.mktemp("undisturbed") / "home")
    assert home.run(frames_per_second=GOOD_EYES, stop_after="extract").is_completed()
    return home


PATIENCE = 120  # seconds; an idle machine needs a few
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.mark.parametrize("interruption", EXIT_CODES)
def test_the_next_run_goes_on_from_there(extracted, undisturbed, prefect_home, interruption, tmp_path):
    """Ctrl-C, SIGTERM or a power cut: what was committed stays, and the end is as if it had not happened."""
    home = extracted.copy(tmp_path / "home")
    (vision,) = (step for step in home.steps(frames_per_second=GOOD_EYES) if step.name == "vision")
    command = f"run --dataset {NAME} --home {home.folder} --raw {home.raw} --no-trust-word-times --stop-after extract"
    command += f" --frames-per-second {GOOD_EYES} --text-encoder {ENCODER}"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMITTING_TWO, *command.split()],
        cwd=REPOSITORY,
        env={**os.environ, "PREFECT_HOME": str(prefect_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    store = home.store
    deadline = time.monotonic() + PATIENCE
    while not 2 <= len(store.done("vision", vision.fingerprint)):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read().decode()
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    if interruption == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        process.send_signal(interruption)
    assert process.wait(timeout=PATIENCE) == EXIT_CODES[interruption]
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive
    kept = store.done("vision", vision.fingerprint)
    assert len(kept) == 2

    assert home.run(frames_per_second=GOOD_EYES, stop_after="extract").is_completed()
    assert kept.items() <= home.store.done("vision", vision.fingerprint).items()
    assert home.store.digest() == undisturbed.store.digest()


def test_two_runs_at_once_on_one_store_are_told_apart(extracted):
    with FeatureStore.open(extracted.parameters().store_url).coordinating():
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from storage.feature_store import FeatureStore as S\n"
             "with S.open(sys.argv[1]).coordinating(): pass", extracted.parameters().store_url],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )  # fmt: skip
    assert done.returncode and f"process {os.getpid()} on" in done.stderr
