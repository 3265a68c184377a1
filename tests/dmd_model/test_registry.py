"""Presets by name, and how their fields are changed."""

import json
from dataclasses import asdict

import pytest

from dmd_model.registry import MODELS, configure


def test_overrides_go_to_the_config_or_to_the_protocol():
    config, training = configure("dmd", {"d": 16, "learning_rate": 0.01, "kernels": [1, 3, 5]})
    assert (config.d, config.kernels, training.learning_rate) == (16, (1, 3, 5), 0.01)
    assert configure("dmd") == (MODELS["dmd"].config, MODELS["dmd"].training)


@pytest.mark.parametrize("name", MODELS)
def test_a_preset_survives_json(name):
    entry = MODELS[name]
    record = json.loads(json.dumps({**asdict(entry.config), **asdict(entry.training)}))
    assert configure(name, record) == (entry.config, entry.training)


def test_unknown_names_are_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="no model is named 'dmdd'; there are dmd"):
        configure("dmdd")
    with pytest.raises(ValueError, match="dmd has no setting learnin_rate; there are .*learning_rate"):
        configure("dmd", {"learnin_rate": 1})
