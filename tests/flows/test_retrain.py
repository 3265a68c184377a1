"""Retraining on real clips, night after night: what is new is all that is extracted, and the better model serves."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from dmd_model.dmd import DMD
from dmd_model.registry import configure
from flows.parameters import RetrainParameters
from flows.retrain import retrain
from storage.segments import SegmentId
from tasks.challenge import judge
from tasks.champion import champion, decisions, roll_back
from tasks.evaluate import read_result
from tasks.validate import GateRefused
from tests.conftest import SEGMENTS
from tests.flows.conftest import NAME, Home, rewrite
from tests.flows.spoilt_media import again, noise
from tests.flows.test_dmd import assert_self_contained

NEW_CLIPS = 2


@contextmanager
def trained_for(epochs: int) -> Iterator[None]:
    """The model as it is, but small, a quick learner, and for so many epochs."""
    config, training = configure("dmd")
    small = replace(config, d=8, heads=2, layers=1, memory_layers=1)
    quick = replace(training, max_epochs=epochs, early_stop=epochs, learning_rate=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DMD, "PRESETS", {"default": (small, quick)})
        yield


def run(home: Home):
    """Run the flow; the state it ends in."""
    parameters = home.parameters().model_dump(include=set(RetrainParameters.model_fields))
    return retrain(RetrainParameters(**parameters), return_state=True)


def models(home: Home) -> Path:
    return home.folder / NAME / "models"


def newcomer(raw: Path, to: Path) -> tuple[Path, list[str]]:
    """The corpus with a new video of two new clips, which say what older ones say; its folder and their ids."""
    shutil.copytree(raw, to)
    (to / "Raw" / "newcomer").mkdir()
    added = []

    def add(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        for row in [row for row in rows if row["mode"] == "train"][:NEW_CLIPS]:
            for suffix in (".mp4", ".align"):
                name = f"{row['clip_id']}{suffix}"
                shutil.copy(to / "Raw" / row["video_id"] / name, to / "Raw" / "newcomer" / name)
            again(to / "Raw" / "newcomer" / f"{row['clip_id']}.mp4")
            added.append(row | {"video_id": "newcomer"})
        return rows + added

    return rewrite(to, add), [str(SegmentId("newcomer", row["clip_id"])) for row in added]


@pytest.fixture(scope="module")
def home(finished, tmp_path_factory) -> Home:
    """Everything is done, and the first model serves."""
    return finished.copy(tmp_path_factory.mktemp("retrain") / "home")


def test_the_first_model_serves_after_the_first_run(home):
    first = champion(models(home))
    assert (first.model, first.seeds, first.text) == ("dmd", (1111,), "glove")
    assert [run / "result.json" for run in first.runs] == list(home.results)
    assert first.published == home.store.published()


def test_nothing_new_is_said_and_nothing_is_done(home):
    before = home.snapshots(), home.results, decisions(models(home))
    state = run(home)
    assert state.is_completed() and state.message.startswith("nothing new to judge"), state.message
    assert (home.snapshots(), home.results, decisions(models(home))) == before
    assert not (home.folder / NAME / "retraining.html").exists()


class Night(NamedTuple):
    """What a run of the deployment found and left: the home, and how it ended."""

    home: Home
    state: State


def night(before: Home, raw: Path, epochs: int, to: Path) -> Night:
    """A run on a copy of a home, with data from this folder."""
    home = before.copy(to, raw)
    with trained_for(epochs):
        return Night(home, run(home))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("nights")


@pytest.fixture(scope="module")
def first_night(extracted, folder) -> Night:
    """Data, all of them liked, and no champion; what is trained for one epoch has hardly learnt that."""
    raw = Path(shutil.copytree(extracted.raw, folder / "first raw"))
    liked = {"annotation": "Positive"}
    rewrite(raw, lambda rows: [row | liked | {"label": f"{2 + 0.2 * float(row['label']):.2f}"} for row in rows])
    return night(extracted, raw, 1, folder / "first")


@pytest.fixture(scope="module")
def second_night(first_night, folder) -> Night:
    """A new video has come, and there is time to learn."""
    raw, _ = newcomer(first_night.home.raw, folder / "second raw")
    return night(first_night.home, raw, 40, folder / "second")


@pytest.fixture(scope="module")
def third_night(second_night, folder) -> Night:
    """Somebody has turned the labels of the train split round: what is learnt from them is wrong on valid."""

    def turn(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        turned = {"annotation": "Negative"}
        return [row | turned | {"label": f"-{row['label']}"} if row["mode"] == "train" else row for row in rows]

    raw = Path(shutil.copytree(second_night.home.raw, folder / "third raw"))
    return night(second_night.home, rewrite(raw, turn), 2, folder / "third")


def test_in_the_first_night_the_first_champion_is_trained(first_night, extracted):
    home, state = first_night
    assert state.is_completed() and state.result() == home.page
    first = champion(models(home))
    assert (first.model, first.seeds, first.text) == ("dmd", (1111, 1112, 1113), "glove")
    assert first.published == home.store.published() and len(home.results) == 3
    for step in home.steps():
        done = home.store.done(step.name, step.fingerprint)
        assert done == extracted.store.done(step.name, step.fingerprint), "all was extracted before"


def test_a_new_video_is_all_that_is_extracted_and_a_better_challenger_is_promoted(first_night, second_night):
    home, state = second_night
    assert state.is_completed()
    now = {step.name: len(home.store.done(step.name, step.fingerprint)) - SEGMENTS for step in home.steps()}
    assert now == {"words": NEW_CLIPS, "vision": NEW_CLIPS, "audio": NEW_CLIPS, "glove": 0, "bert": 0, "pieces": 0}
    published = home.store.published()
    assert len(home.store.aligned(published.fingerprint).ids) == SEGMENTS + NEW_CLIPS

    # a challenger with the champion's seeds, on the new data
    before, after = champion(models(first_night.home)), champion(models(home))
    assert (after.model, after.seeds, after.text) == (before.model, before.seeds, before.text)
    assert after.published == published != before.published
    last = decisions(models(home))[-1]
    assert last.promoted and last.ensemble.runs == after.runs
    assert "the challenger's is lower in 100.0 % of 10,000 resamples" in last.reason
    assert_judged_by_what_both_say_of_the_valid_split(home, first_night.home)

    page = unescape((home.folder / NAME / "retraining.html").read_text(encoding="utf-8"))
    assert_self_contained(page)
    assert "The challenger is promoted" in page and last.reason in page and "2 new, 0 changed and 0 gone" in page
    assert "champion: dmd" in page and "challenger: dmd" in page
    with get_client(sync_client=True) as client:
        assert {"retraining", "decision", "retraining-page"} <= {
            artifact.key for artifact in client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
        }


def assert_judged_by_what_both_say_of_the_valid_split(home: Home, before: Home) -> None:
    """The valid split is the same before and after, and so is what the old champion says of it."""
    data = home.store.aligned(home.store.published().fingerprint)
    labels = dict(zip(data.ids, data.labels, strict=True))
    sides = []
    for one in (home, before):
        said = [read_result(path)["predictions"]["valid"] for path in champion(models(one)).runs]
        sides.append(np.array([[run[name] for name in said[0]] for run in said]))
    assert decisions(models(home))[-1].reason == judge(*sides, np.array([labels[name] for name in said[0]]))[1]


def test_how_new_segments_differ_is_in_the_report_of_the_gate(first_night, second_night):
    """And on the page of the retraining; where nothing was published before there is nothing to differ from."""
    assert "Drift" not in first_night.home.page.read_text(encoding="utf-8")
    home = second_night.home
    verdict = json.loads((home.folder / NAME / "docs" / "verdict.json").read_text())
    found = {one["feature"]: one for one in verdict["drift"]}
    assert found.keys() == {"glove", "bert", "vision", "audio"}
    assert all((one["old"], one["new"]) == (SEGMENTS, NEW_CLIPS) for one in found.values())
    for page in (home.page, home.folder / NAME / "retraining.html"):
        shown = unescape(page.read_text(encoding="utf-8"))
        assert "Drift: how new segments differ from those published before" in shown
        for name, one in found.items():
            assert re.search(rf"<td>{name}</td>.*>{one['distance']:.2f}</td>.*{one['largest'][0]['name']} ", shown)
    with get_client(sync_client=True) as client:
        assert "drift" in {artifact.key for artifact in client.read_artifacts(sort=ArtifactSort.CREATED_DESC)}


def test_a_challenger_that_is_worse_is_refused_and_the_champion_serves_on(second_night, third_night):
    home, state = third_night
    assert state.is_completed()
    before = champion(models(second_night.home))
    assert champion(models(home)) == replace(before, runs=tuple(relocated(before.runs, second_night.home, home)))
    last = decisions(models(home))[-1]
    assert not last.promoted and "lower in 0.0 % of 10,000 resamples" in last.reason
    assert last.ensemble.published == home.store.published() != before.published
    page = unescape((home.folder / NAME / "retraining.html").read_text(encoding="utf-8"))
    assert "The champion stays" in page and last.reason in page and "0 new, 6 changed and 0 gone segments" in page


def relocated(runs: Sequence[Path], old: Home, new: Home) -> list[Path]:
    return [new.folder / run.relative_to(old.folder) for run in runs]


def test_what_was_judged_is_not_judged_again_whatever_came_of_it(second_night, third_night, tmp_path):
    assert run(second_night.home).message == (
        "nothing new to judge (0 new, 0 changed and 0 gone segments since the champion was trained)"
    )
    home = third_night.home.copy(tmp_path / "home")
    assert run(home).message.startswith("nothing new to judge (0 new, 6 changed")
    first = decisions(models(home))[0].ensemble
    assert roll_back(models(home)).runs == first.runs and run(home).message.startswith("nothing new")
    assert len(decisions(models(home))) == 3


def test_data_that_the_gate_refuses_leave_the_champion(home, tmp_path):
    raw, _ = newcomer(home.raw, tmp_path / "raw")
    for clip in (raw / "Raw" / "newcomer").glob("*.mp4"):
        noise(clip)
    home = replace(home.copy(tmp_path / "home"), raw=raw)
    before = champion(models(home)), home.results, home.store.published(), decisions(models(home))
    state = run(home)
    assert state.is_failed() and isinstance(state.result(raise_on_failure=False), GateRefused)
    assert (champion(models(home)), home.results, home.store.published(), decisions(models(home))) == before
    page = (home.folder / NAME / "retraining.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "The new data were refused, the champion stays" in page and "lost were 2 by unreadable" in page


def test_an_empty_folder_and_no_champion_is_nothing_to_do_yet(prefect_server, scheduler, tmp_path):
    home = Home(tmp_path / "home", tmp_path / "raw", scheduler)
    home.raw.mkdir()
    state = run(home)
    assert (
        state.is_completed()
        and state.message == f"nothing to train on: {home.raw} is empty, and no champion serves yet"
    )
    home.raw.rmdir()
    state = run(home)
    assert state.is_failed() and f"no folder {home.raw}" in state.message, "a folder that is not there is a mistake"
