"""The champion: a pointer that moves at once, remembers where it was, and goes back."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.feature_store import Published
from tasks.champion import ChampionError, Ensemble, champion, crown, decide, decisions, roll_back, serving, trained
from tasks.train import finished
from tests.tasks.labelled_data import labelled_data, publish

PUBLISHED = Published("SNAPSHOT", "aligned-1", "1" * 16)


def candidate(models: Path, *runs: str) -> Ensemble:
    return Ensemble("dmd", (1, 2), "glove", PUBLISHED, tuple(models / "dmd" / run for run in runs))


def run_folder(models: Path, model: str, seed: int, published: Published, code: str = "c") -> Path:
    """What a finished training leaves that the registry reads."""
    run = models / model / f"{seed:016}"
    run.mkdir(parents=True)
    (run / "data.json").write_text(json.dumps({**vars(published), "text": "glove", "code": code}))
    (run / "result.json").write_text(json.dumps({"model": model, "seed": seed}))
    os.utime(run / "result.json", (seed, seed))
    return run


def test_without_a_decision_there_is_no_champion(tmp_path):
    assert champion(tmp_path / "models") is None and decisions(tmp_path / "models") == []
    with pytest.raises(ChampionError, match="has no champion yet: `dmd run` trains one"):
        serving(tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_the_last_that_was_promoted_serves(tmp_path):
    decide(tmp_path, candidate(tmp_path, "a"), True, "first", "s1")
    decide(tmp_path, candidate(tmp_path, "b"), True, "better", "s2")
    decide(tmp_path, candidate(tmp_path, "c"), False, "worse", "s3")
    found = champion(tmp_path)
    assert found.runs == (tmp_path / "dmd" / "b",) and found.promoted.reason == "better"
    assert (found.model, found.seeds, found.text, found.published) == ("dmd", (1, 2), "glove", PUBLISHED)
    assert [(known.reason, known.promoted, known.segments) for known in decisions(tmp_path)] == [
        ("first", True, "s1"),
        ("better", True, "s2"),
        ("worse", False, "s3"),
    ]


def test_a_roll_back_restores_the_champion_before_and_loses_no_decision(tmp_path):
    for run in "abc":
        decide(tmp_path, candidate(tmp_path, run), True, run, "s")
    assert roll_back(tmp_path).promoted.reason == "b"
    decide(tmp_path, candidate(tmp_path, "d"), True, "d", "s")
    assert [roll_back(tmp_path).promoted.reason for _ in range(2)] == ["b", "a"]
    before = decisions(tmp_path)
    with pytest.raises(ChampionError, match="no champion before the present one"):
        roll_back(tmp_path)
    assert champion(tmp_path).promoted.reason == "a" and decisions(tmp_path) == before
    assert [(known.reason, bool(known.withdrawn)) for known in before] == [
        ("a", False),
        ("b", True),
        ("c", True),
        ("d", True),
    ]


def test_a_models_folder_can_be_moved(tmp_path):
    decide(tmp_path / "here", candidate(tmp_path / "here", "a"), True, "first", "s")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert champion(tmp_path / "there").runs == (tmp_path / "there" / "dmd" / "a",)


def test_the_first_model_that_was_trained_is_crowned_where_none_serves(tmp_path):
    (store, published), models = publish(tmp_path, labelled_data()), tmp_path / "models"
    crown.fn(store, [], models)
    assert champion(models) is None
    runs = [run_folder(models, model, seed, published) for model in ("mult", "dmd") for seed in (1, 2)]
    crown.fn(store, runs, models)
    found = champion(models)
    assert (found.model, found.seeds, found.runs, found.published) == ("mult", (1, 2), tuple(runs[:2]), published)
    crown.fn(store, runs[2:], models)
    assert champion(models) == found


def test_what_was_trained_last_on_the_published_data_can_be_chosen(tmp_path):
    """All its seeds, but none of other data, other code or another model."""
    other = Published("S", "aligned-0", "0" * 16)
    run_folder(tmp_path, "dmd", 1, PUBLISHED, code="old")
    runs = [run_folder(tmp_path, "dmd", seed, PUBLISHED, code="new") for seed in (3, 2)]
    run_folder(tmp_path, "dmd", 4, other, code="new")
    mult = run_folder(tmp_path, "mult", 5, PUBLISHED, code="new")
    assert finished(tmp_path, PUBLISHED) == [*reversed(runs), mult]
    found = trained(tmp_path, "dmd", PUBLISHED)
    assert (found.seeds, found.runs) == ((2, 3), (runs[1], runs[0]))
    for model, published in (("tfn", PUBLISHED), ("../dmd", PUBLISHED), ("mult", other)):
        with pytest.raises(ChampionError, match="`dmd train` makes one"):
            trained(tmp_path, model, published)


def test_decisions_at_the_same_time_are_all_kept(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: decide(tmp_path, candidate(tmp_path, "a"), True, "again", "s"), range(20)))
    assert len(decisions(tmp_path)) == 20
