"""The search: it tries what its space holds, keeps what it found, goes on where it was broken off, and sees no test."""

from __future__ import annotations

import json

import pytest

from dmd_model.dmd import DMD
from dmd_model.registry import configure
from tasks import search as module
from tasks.search import SearchError, search
from tests.dmd_model.made_up import make_samples

pytest.importorskip("optuna")
SPLITS = {"train": make_samples(24, 1, "a"), "valid": make_samples(8, 2, "b")}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The model as it is, but small and for two epochs."""
    from dataclasses import replace

    config, training = configure("dmd")
    small = replace(config, d=8, heads=2, layers=1, memory_layers=1), replace(training, max_epochs=2)
    monkeypatch.setattr(DMD, "PRESETS", {"default": small})


def test_it_goes_on_where_it_was_and_its_best_is_a_setting_of_the_model(tmp_path):
    first = search("dmd", SPLITS, [1], trials=2, minutes=5, folder=tmp_path, device="cpu")
    best = search("dmd", SPLITS, [1], trials=4, minutes=5, folder=tmp_path, device="cpu")
    assert (first["trials"], best["trials"]) == (2, 4) and best["valid_mae"] <= first["valid_mae"]
    assert json.loads((tmp_path / "best.json").read_text()) == best
    config, training = configure("dmd", best["settings"])
    assert training.batch_size in module.BATCH_SIZES and 0 <= min(config.input_dropout) <= max(config.input_dropout) < 1
    assert not list(tmp_path.glob("trial-*"))


def test_test_data_are_not_looked_at(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "train_one", lambda job, samples, *_: seen.append(set(samples)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search("dmd", {**SPLITS, "test": make_samples(8, 3, "c")}, [1], 1, 5, tmp_path, "cpu")
    assert seen == [{"train", "valid"}]


def test_settings_that_diverge_are_a_bad_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATES", (1e29, 1e30))
    with pytest.raises(SearchError, match="no trial came to an end"):
        search("dmd", SPLITS, [1], trials=1, minutes=5, folder=tmp_path, device="cpu")
