"""The code of docs/extending.md runs as it stands there: the model trains, the extractor measures."""

from __future__ import annotations

import ast
import re
import sys
import types
import wave

import numpy as np
import pytest

from dmd_model.registry import MODELS, model_class
from storage.schema import Word, fingerprint
from tasks.features.pooling import pool
from tests.conftest import REPOSITORY
from tests.dmd_model.made_up import make_samples

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = re.findall(r"This (?:one|is),? `([\w/]+)\.py`.*?```python\n(.*?)```", PAGE, flags=re.DOTALL)


def titled(title: str) -> str:
    (block,) = re.findall(rf'```python title="{title}"\n(.*?)```', PAGE, flags=re.DOTALL)
    return block


@pytest.fixture
def module(monkeypatch):
    """A function that makes a module of the page importable under its own name, as if its file were there."""

    def make(name: str) -> types.ModuleType:
        (source,) = (source for path, source in MODULES if path.replace("/", ".") == name)
        made = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(source, name, "exec"), vars(made))
        return made

    return make


def test_the_model_is_found_by_its_line_and_learns(module, monkeypatch, tmp_path):
    bags = module("dmd_model.baselines.bags")
    for name, place in ast.literal_eval(f"{{{titled('registry')}}}").items():
        monkeypatch.setitem(MODELS, name, place)
    assert model_class("bags") is bags.Bags
    samples = {
        split: make_samples(count, count, split) for split, count in {"train": 96, "valid": 24, "test": 24}.items()
    }
    scope = {"samples": samples, "folder": tmp_path / "bags", "print": lambda *_: None}
    exec(titled("training"), scope)
    errors = [epoch["valid_error"] for epoch in scope["result"].history]
    assert len(errors) == 5 and errors[-1] < errors[0]


def test_the_extractor_measures_what_is_heard(module, tmp_path):
    energy = module("tasks.features.energy")
    (instrument,) = eval(f"{{{titled('instruments')}}}", {"energy": energy}).values()
    with wave.open(str(tmp_path / "tone.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        silence, loud = np.zeros(8000), 0.5 * np.sin(np.arange(8000))
        sound.writeframes((32767 * np.concatenate([silence, loud])).astype("<i2").tobytes())
    frames = instrument.measure(tmp_path / "tone.wav")
    values, measured = pool(frames, [Word("quiet", 0.0, 0.5), Word("loud", 0.5, 1.0)])
    assert measured.all() and values[:, 0] == pytest.approx([0, 0.125], abs=1e-3)
    assert len(instrument.columns) == values.shape[1]
    assert fingerprint(instrument.recipe()) != fingerprint(energy.Energy(hop=0.2).recipe())
