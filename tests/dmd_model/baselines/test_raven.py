"""RAVEN: its size, how far a word may shift, and that words are shifted by what was seen and heard up to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd_model.baselines.raven import RAVEN, RAVENConfig, shift
from dmd_model.batch import Batch, DeviceSamples

COLUMNS = (6, 5, 4)


@pytest.fixture
def batch(make_samples) -> Batch:
    return DeviceSamples(make_samples(5), (50, 50, 50), False, torch.device("cpu")).batch(np.arange(5))


@pytest.fixture
def model() -> RAVEN:
    torch.manual_seed(0)
    return RAVEN(RAVENConfig(nonverbal_hidden=7, hidden=8), COLUMNS).eval()


def test_the_mosi_preset_has_the_size_of_its_architecture():
    text, nonverbal, hidden = 300, 150, 300
    streams = 0
    for width in (20, 5):
        projection = nonverbal * (width + 1)
        lstm = 4 * nonverbal * (nonverbal + nonverbal + 2)
        gate = nonverbal + text + 1
        streams += projection + lstm + gate
    mix = text * (2 * nonverbal + 1)
    words = 4 * hidden * (text + hidden + 2) + (hidden + 1)
    model = RAVEN(RAVEN.PRESETS["mosi"][0], (300, 20, 5))
    assert sum(p.numel() for p in model.parameters()) == streams + mix + words


@torch.no_grad()
def test_a_prediction_is_that_of_the_equations_word_by_word(model, batch):
    beta = model.config.beta
    expected = []
    for i, length in enumerate(batch.lengths[0].tolist()):
        memories = [None, None]
        state = None
        for t in range(length):
            word, gated = batch.text[i, t : t + 1], []
            for m, frames in enumerate((batch.vision, batch.audio)):
                frame = model.projections[m](frames[i, t : t + 1])
                behaviour, memories[m] = model.nonverbal[m].lstm(frame, memories[m])
                gated.append(model.gates[m](torch.cat([behaviour, word], dim=1)).sigmoid() * behaviour)
            moved = model.mix(torch.cat(gated, dim=1))
            alpha = min(beta * float(word.norm()) / float(moved.norm()), 1.0)
            last, state = model.lstm.lstm(word + alpha * moved, state)
        expected.append(model.out(last)[0, 0])
    torch.testing.assert_close(model(batch).prediction, torch.stack(expected))


def test_a_shift_is_kept_if_it_is_short_and_shortened_to_beta_times_the_word_if_it_is_long():
    words = torch.tensor([[[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]])  # lengths 5, 5 and 0
    shifts = torch.tensor([[[0.0, 0.5], [0.0, -8.0], [1.0, 1.0]]])
    torch.testing.assert_close(shift(words, shifts, 0.2), torch.tensor([[[3.0, 4.5], [3.0, 3.0], [0.0, 0.0]]]))


def test_no_shift_at_all_has_a_finite_gradient():
    shifts = torch.zeros(1, 2, 3, requires_grad=True)
    shift(torch.zeros(1, 2, 3), shifts, 0.2).sum().backward()
    assert torch.isfinite(shifts.grad).all()


def test_a_frame_shifts_its_word_and_those_after_it(model, batch):
    states = {}
    model.lstm.register_forward_pre_hook(lambda _, inputs: states.update(words=inputs[0]))
    model(batch)
    before = states["words"]
    vision = batch.vision.clone()
    vision[0, 1] += 1
    model(replace(batch, vision=vision))
    moved = (states["words"] - before).abs().amax(dim=2) > 0  # [B, T]
    assert moved[0].tolist() == [0 < t < batch.lengths[1, 0] for t in range(moved.shape[1])]
    assert not moved[1:].any()
