"""Who predicts: the champion or the newest runs of a model by name, and only on features of the make it knows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from storage.feature_store import Published
from tasks.champion import ChampionError, Ensemble, decide, ensemble
from tasks.predict import PredictionError, choose, training_of
from tests.tasks.labelled_data import labelled_data, publish

PUBLISHED = Published("SNAPSHOT", "aligned-1", "0" * 16)


def trained(models: Path, seed: int, when: int, **data) -> Path:
    """What a finished training leaves that is looked at, as if it had ended at ``when``."""
    run = models / "dmd" / f"{abs(hash((seed, when))):x}"[:16]
    run.mkdir(parents=True)
    (run / "data.json").write_text(json.dumps({**vars(PUBLISHED), "text": "glove", "code": "c", **data}))
    (run / "result.json").write_text(json.dumps({"model": "dmd", "seed": seed}))
    os.utime(run / "result.json", (when, when))
    return run


def test_without_a_name_the_champion_predicts(tmp_path):
    with pytest.raises(ChampionError, match="has no champion yet"):
        choose(tmp_path, None)
    old = trained(tmp_path, 1, when=1)
    trained(tmp_path, 2, when=2)
    decide(tmp_path, ensemble([old]), True, "first", "s")
    assert choose(tmp_path, None).runs == (old,)


def test_a_name_stands_for_its_seeds_on_the_data_and_code_of_the_newest(tmp_path):
    trained(tmp_path, 1, when=1, fingerprint="1" * 16)
    trained(tmp_path, 3, when=2, code="older")
    runs = [trained(tmp_path, seed, when=10 + seed) for seed in (3, 2, 1)]
    chosen = choose(tmp_path, "dmd")
    assert chosen.seeds == (1, 2, 3) and chosen.runs == tuple(reversed(runs)) and chosen.published == PUBLISHED


def test_a_model_that_was_never_trained_is_refused(tmp_path):
    trained(tmp_path, 1, when=1)
    with pytest.raises(PredictionError, match="no training of .* has ended"):
        choose(tmp_path / "other", f"../{tmp_path.name}/dmd")
    with pytest.raises(PredictionError, match="no training of mult has ended in .*`dmd train --model mult`") as refusal:
        choose(tmp_path, "mult")
    assert refusal.value.reason == "not_trained"


def test_features_that_were_imported_cannot_be_measured(tmp_path):
    store, published = publish(tmp_path, labelled_data())
    with pytest.raises(PredictionError, match="imported from a file: nobody here can measure") as refusal:
        training_of(store, Ensemble("dmd", (1,), "glove", published, ()))
    assert refusal.value.reason == "imported_features"
