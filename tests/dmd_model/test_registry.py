"""Presets by name, and how their fields are changed."""

import json
from dataclasses import asdict

import pytest

from dmd_model.config import ABLATIONS
from dmd_model.published import published_results
from dmd_model.registry import MODELS, ablation, configure, model_class

PRESETS = [f"{name}@{preset}" for name in MODELS for preset in model_class(name).PRESETS]


def test_overrides_go_to_the_config_or_to_the_protocol():
    config, training = configure("dmd", {"d": 16, "learning_rate": 0.01, "kernels": [1, 3, 5]})
    assert (config.d, config.kernels, training.learning_rate) == (16, (1, 3, 5), 0.01)
    assert configure("dmd") == model_class("dmd").PRESETS["default"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    config, training = configure(name)
    record = json.loads(json.dumps({**asdict(config), **asdict(training)}))
    assert configure(name, record) == (config, training)


def test_unknown_names_are_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="no model is named 'dmdd'; there are dmd"):
        configure("dmdd")
    with pytest.raises(ValueError, match="dmd has no preset 'offcial'; there are default, official-mosi"):
        configure("dmd@offcial")
    with pytest.raises(ValueError, match="dmd has no setting learnin_rate; there are .*learning_rate"):
        configure("dmd", {"learnin_rate": 1})


@pytest.mark.parametrize("preset", ABLATIONS)
def test_an_ablation_is_dmd_with_one_switch_off_and_nothing_published_is_about_it(preset):
    (whole, training), (config, same) = configure("dmd"), configure(f"dmd@{preset}")
    off = {name: False for name in asdict(whole) if asdict(whole)[name] != asdict(config)[name]}
    assert off == {ablation(f"dmd@{preset}"): False} and same == training
    assert published_results("dmd", "mosi") and not published_results(f"dmd@{preset}", "mosi")


def test_no_other_name_is_an_ablation():
    assert not any(ablation(name) for name in (*MODELS, "dmd@official-mosi", "mult@no-fd"))
