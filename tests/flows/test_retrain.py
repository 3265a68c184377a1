"""Retraining on real clips: nothing new is left alone, new data are all that is extracted, and the rule decides."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client

from dmd_model.dmd import DMD
from dmd_model.registry import configure
from flows.parameters import RetrainParameters
from flows.retrain import retrain
from storage.segments import SegmentId
from tasks.challenge import judge
from tasks.champion import ChampionError, champion, decisions, roll_back
from tasks.evaluate import read_result
from tasks.validate import GateRefused
from tests.conftest import SEGMENTS
from tests.flows.conftest import NAME, Home
from tests.flows.spoilt_media import again, noise
from tests.flows.test_dmd import assert_self_contained

NEW_CLIPS = 2


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The model as it is, but small and for a few epochs."""
    config, training = configure("dmd")
    small = replace(config, d=8, heads=2, layers=1, memory_layers=1), replace(training, max_epochs=3)
    monkeypatch.setattr(DMD, "PRESETS", {"default": small})


def run(home: Home):
    """Run the flow; the state it ends in."""
    parameters = home.parameters().model_dump(include=set(RetrainParameters.model_fields))
    return retrain(RetrainParameters(**parameters), return_state=True)


def models(home: Home) -> Path:
    return home.folder / NAME / "models"


def newcomer(raw: Path, to: Path) -> tuple[Path, list[str]]:
    """The corpus with a new video of two new clips, which say what older ones say; its folder and their ids."""
    shutil.copytree(raw, to)
    with (to / "label.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    said = [row for row in rows if row["mode"] == "train"][:NEW_CLIPS]
    (to / "Raw" / "newcomer").mkdir()
    with (to / "label.csv").open("a", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]))
        for row in said:
            for suffix in (".mp4", ".align"):
                name = f"{row['clip_id']}{suffix}"
                shutil.copy(to / "Raw" / row["video_id"] / name, to / "Raw" / "newcomer" / name)
            again(to / "Raw" / "newcomer" / f"{row['clip_id']}.mp4")
            table.writerow(row | {"video_id": "newcomer"})
    return to, [str(SegmentId("newcomer", row["clip_id"])) for row in said]


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


def test_a_new_video_is_all_that_is_extracted_and_the_rule_decides(home, tmp_path):
    raw, new = newcomer(home.raw, tmp_path / "raw")
    home = replace(home.copy(tmp_path / "home"), raw=raw)
    first, results = champion(models(home)), home.results
    done = {step.name: len(home.store.done(step.name, step.fingerprint)) for step in home.steps()}
    assert run(home).is_completed()

    now = {step.name: len(home.store.done(step.name, step.fingerprint)) - done[step.name] for step in home.steps()}
    assert now == {"words": NEW_CLIPS, "vision": NEW_CLIPS, "audio": NEW_CLIPS, "glove": 0, "bert": 0, "pieces": 0}
    published = home.store.published()
    assert len(home.store.aligned(published.fingerprint).ids) == SEGMENTS + NEW_CLIPS

    # one challenger, with the champion's seeds, judged by what both say of the same valid split
    (path,) = home.results.keys() - results.keys()
    challenger = read_result(path.parent)
    assert (challenger["model"], challenger["seed"]) == (first.model, *first.seeds)
    assert json.loads((path.parent / "data.json").read_text())["snapshot"] == published.snapshot
    last = decisions(models(home))[-1]
    assert last.ensemble.runs == (path.parent,) and last.ensemble.published == published
    data = home.store.aligned(published.fingerprint)
    labels = dict(zip(data.ids, data.labels, strict=True))
    before = read_result(first.runs[0])["predictions"]["valid"]  # the valid split has not changed, nor its features
    after = challenger["predictions"]["valid"]
    assert before.keys() == after.keys()
    sides = ([[side[name] for name in before]] for side in (after, before))
    assert last.promoted == judge(*map(np.array, sides), np.array([labels[name] for name in before]))[0]
    assert champion(models(home)).runs == (last.ensemble.runs if last.promoted else first.runs)

    page = unescape((home.folder / NAME / "retraining.html").read_text(encoding="utf-8"))
    assert_self_contained(page)
    assert ("The challenger is promoted" if last.promoted else "The champion stays") in page and last.reason in page
    assert all(name in page for name in new) and "2 new, 0 changed and 0 gone segments" in page
    assert all(f"<td>{feature}</td>" in page for feature in ("glove", "bert", "vision", "audio")), "drift"
    with get_client(sync_client=True) as client:
        assert {"retraining", "decision", "retraining-page"} <= {artifact.key for artifact in client.read_artifacts()}

    # what was judged is not judged again, not even after a roll-back
    assert run(home).message.startswith("nothing new to judge (2 new" if not last.promoted else "nothing new to judge")
    assert len(decisions(models(home))) == 2
    if last.promoted:
        assert roll_back(models(home)) == first and run(home).message.startswith("nothing new")


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


def test_where_nobody_serves_retraining_is_a_sentence(extracted, tmp_path):
    state = run(extracted.copy(tmp_path / "home"))
    assert state.is_failed() and isinstance(state.result(raise_on_failure=False), ChampionError)
    assert "has no champion yet: `dmd run` trains one" in state.message
