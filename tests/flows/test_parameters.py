"""What a run takes: every wrong value is refused before anything is done, and the form says what each one is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from dmd_model.registry import MODELS
from flows.parameters import ExtractParameters, RetrainParameters, RunParameters, Stage


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"dataset": "../mosi", "raw": "mosi"}, "dataset"),
        ({"dataset": "", "raw": "mosi"}, "dataset"),
        ({"dataset": ".hidden", "raw": "mosi"}, "dataset"),
        ({"stop_after": "report"}, "stop_after"),
        ({"models": []}, "models"),
        ({"seeds": []}, "seeds"),
        ({"seeds": ["one"]}, "seeds"),
        ({"text": "word2vec"}, "text"),
        ({"device": "tpu"}, "device"),
        ({"frames_per_second": -1}, "frames_per_second"),
        ({"pitch_range": (500, 60)}, "pitch_range"),
        ({"pitch_range": (60, 9000)}, "pitch_range"),
        ({"modalities": []}, "modalities"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"min_coverage": 1.1}, "min_coverage"),
        ({"min_coverage": -0.1}, "min_coverage"),
        ({"segments": 11}, "segments"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given, field):
    with pytest.raises(ValidationError) as refusal:
        RunParameters(**given)
    assert [error["loc"][0] for error in refusal.value.errors()] == [field]


def test_groups_of_models_are_their_members_once_each():
    assert RunParameters(models=["all"]).models == list(MODELS)
    ablations = ["dmd", "dmd@no-fd", "dmd@no-homogd", "dmd@no-ca", "dmd@no-heterogd"]
    assert RunParameters(models=["ablations"]).models == ablations
    assert RunParameters(models=["lmf", "dmd", "ablations"]).models == ["lmf", *ablations]


def test_a_data_set_of_ones_own_needs_one_source():
    with pytest.raises(ValidationError, match="data set 'mosi' needs raw"):
        RunParameters(dataset="mosi")
    with pytest.raises(ValidationError, match="not both"):
        RunParameters(dataset="mosi", raw="mosi", features="mosi.npz")
    assert not RunParameters(dataset="mosi", raw="mosi").makes_sample


def test_the_sample_is_made_unless_something_else_is_given():
    assert RunParameters().makes_sample
    assert not RunParameters(raw="mine").makes_sample and not RunParameters(features="mine.npz").makes_sample


def test_given_word_times_are_checked_on_the_sample_and_else_taken():
    assert not RunParameters().trusts_word_times and RunParameters(raw="mine").trusts_word_times
    assert RunParameters(trust_word_times=True).trusts_word_times
    assert not RunParameters(raw="mine", trust_word_times=False).trusts_word_times


def test_each_stage_includes_those_before_it():
    stages = get_args(Stage)
    for place, last in enumerate(stages):
        assert [RunParameters(stop_after=last).reaches(stage) for stage in stages] == [
            index <= place for index in range(len(stages))
        ]


def test_to_extract_is_to_run_to_the_published_data_set():
    assert ExtractParameters().model_dump() == RunParameters(stop_after="validate").model_dump()


def test_a_challenger_is_trained_as_the_champion_was_wherever_the_run_says():
    run = RetrainParameters(dataset="mine", raw="mine", train_with="dmd/train", device="cuda", pitch_range=(80, 400))
    whole = run.run_of("mult", (1, 2), "bert")
    assert (whole.models, whole.seeds, whole.text) == (["mult"], [1, 2], "bert")
    assert {name: getattr(whole, name) for name in RetrainParameters.model_fields} == dict(run)
    assert whole.stop_after == "train"


def test_everything_lands_in_one_folder_a_data_set(tmp_path, monkeypatch):
    run = RunParameters(dataset="mosi", raw="mosi", home=tmp_path)
    assert (run.folder, run.store_url) == (tmp_path / "mosi", str(tmp_path / "mosi" / "store"))
    assert RunParameters(store="s3://bucket/mosi").store_url == "s3://bucket/mosi"
    monkeypatch.setenv("DMD_HOME", str(tmp_path))
    assert RunParameters().folder == tmp_path / "sample"
    monkeypatch.delenv("DMD_HOME")
    assert RunParameters().folder == Path.cwd() / ".dmd" / "sample"


def test_the_form_says_what_every_parameter_is():
    properties = RunParameters.model_json_schema()["properties"]
    assert properties.keys() == RunParameters.model_fields.keys()
    assert all(len(entry["description"]) > 10 for entry in properties.values())
