"""MCTN: its size, that it predicts from text alone, and its translations against a loop over segments and frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmd_model.baselines.mctn import MCTN, Encoding, MCTNConfig, Translator
from dmd_model.batch import Batch, DeviceSamples

COLUMNS = (6, 5, 4)
TEXT, VISION, AUDIO = range(3)


@pytest.fixture
def batch(make_samples) -> Batch:
    """Segments whose modalities have unlike lengths; each of three lacks another modality."""
    batch = DeviceSamples(make_samples(5), (50, 50, 50), False, torch.device("cpu")).batch(np.arange(5))
    lengths = batch.lengths.clone()
    lengths[VISION] -= 1
    lengths[(TEXT, VISION, AUDIO), (1, 2, 3)] = 0
    return replace(batch, lengths=lengths)


@pytest.fixture
def model() -> MCTN:
    torch.manual_seed(0)
    return MCTN(MCTNConfig(hidden=7), COLUMNS)


def encode(translator: Translator, x: Tensor) -> tuple[Tensor, Tensor]:
    """The two directions of the encoder over one segment [T, D], summed: states [T, H] and final state [H]."""
    states, (final, _) = translator.encoder.lstm(x)
    return sum(states.chunk(2, dim=1)), final.sum(dim=0)


def test_the_mosi_preset_has_the_size_of_its_architecture():
    hidden, frame, audio = 32, 768, 5  # frames of vision are padded to those of text

    def lstm(width: int) -> int:
        return 4 * hidden * (width + hidden + 2)

    def translator(source: int, target: int) -> int:
        encoder = 2 * lstm(source) + hidden * hidden  # with the map to the decoder's first state
        attention = 2 * hidden * hidden + hidden
        decoder = 4 * hidden * (target + hidden + hidden + 1)  # reads the frame before, the context and its state
        return encoder + attention + decoder + target * (2 * hidden + 1)

    regression = lstm(hidden) + (hidden + 1) + (hidden + 1)
    model = MCTN(MCTN.PRESETS["mosi"][0], (768, 20, 5))
    expected = translator(frame, frame) + translator(hidden, audio) + regression
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("training", [False, True])
def test_a_prediction_comes_from_text_alone(model, batch, training):
    model.train(training)
    lengths = batch.lengths.clone()
    lengths[VISION], lengths[AUDIO] = 0, 1
    other = replace(batch, vision=torch.zeros(5, 1, 5), audio=torch.randn(5, 1, 4), lengths=lengths)
    assert torch.equal(model(other).prediction, model(batch).prediction)


def test_a_prediction_is_pooled_from_the_second_encoding(model, batch):
    for i, length in enumerate(batch.lengths[TEXT].tolist()):
        if not length:
            continue
        encoded, _ = encode(model.joint_audio, encode(model.text_vision, batch.text[i, :length])[0])
        states, _ = model.lstm.lstm(encoded)
        pooled = model.attention(states).tanh().softmax(dim=0).T @ states
        torch.testing.assert_close(model(batch).prediction[i], model.out(pooled)[0, 0])


def plain_decode(translator: Translator, states: Tensor, final: Tensor, target: Tensor, forced: bool) -> Tensor:
    """The translation of one segment without padding, [T, H] to [U, D], frame by frame."""
    hidden, width = states.shape[1], target.shape[1]
    cell = nn.LSTMCell(width + hidden, hidden)
    state_weight, context_weight = translator.recurrent.weight.split(hidden, dim=1)
    cell.weight_ih.data = torch.cat([translator.fed.weight[:, :width], context_weight], dim=1)
    cell.weight_hh.data = state_weight
    cell.bias_ih.data, cell.bias_hh.data = translator.fed.bias, torch.zeros(4 * hidden)
    state, memory, frames = translator.start(final).tanh(), torch.zeros(hidden), []
    for t in range(len(target)):
        energies = [translator.score((translator.query(state) + translator.key(source)).tanh()) for source in states]
        context = torch.cat(energies).softmax(dim=0) @ states
        fed = torch.zeros(width) if t == 0 else target[t - 1] if forced else frames[-1]
        state, memory = cell(torch.cat([fed, context]), (state, memory))
        frames.append(translator.emit(torch.cat([state, context]))[:width])
    return torch.stack(frames)


@pytest.mark.parametrize("forced", [False, True])
@torch.no_grad()
def test_a_translation_is_that_of_the_equations_frame_by_frame(model, batch, forced):
    source = model.text_vision.encode(batch.text, batch.lengths[TEXT])
    translated = model.text_vision.decode(source, batch.vision, float(forced))
    for i, (words, frames) in enumerate(batch.lengths[:AUDIO].T.tolist()):
        if words and frames:
            encoding = source.states[i, :words], source.final[i]
            expected = plain_decode(model.text_vision, *encoding, batch.vision[i, :frames], forced)
            torch.testing.assert_close(translated[i, :frames], expected)


@torch.no_grad()
def test_teacher_forcing_feeds_the_true_frame_at_times(model):
    """With probability 0.5, about half of the second frames follow the true first frame, the others the own one."""
    count = 400
    source = Encoding(torch.zeros(count, 1, 7), torch.zeros(count, 7), torch.ones(count, dtype=torch.int64))
    target = torch.full((count, 2, 4), 3.0)
    own, true, mixed = (model.joint_audio.decode(source, target, p)[:, 1] for p in (0.0, 1.0, 0.5))
    assert not torch.isclose(own, true).any()
    follows_true, follows_own = torch.isclose(mixed, true).all(dim=1), torch.isclose(mixed, own).all(dim=1)
    assert (follows_true ^ follows_own).all()
    assert 0.4 < follows_true.float().mean() < 0.6


@torch.no_grad()
def test_the_losses_are_those_of_a_loop_over_the_segments_that_have_both_modalities(model, batch):
    model.eval()
    losses = model.losses(model(batch), batch.labels)
    errors = {"vision": [], "cycle": [], "audio": []}
    for i, (words, frames, sounds) in enumerate(batch.lengths.T.tolist()):
        if not words:
            continue
        text_encoding = encode(model.text_vision, batch.text[i, :words])
        joint_encoding = encode(model.joint_audio, text_encoding[0])
        if frames:
            vision = plain_decode(model.text_vision, *text_encoding, batch.vision[i, :frames], False)
            errors["vision"].append(vision - batch.vision[i, :frames])
            seen = encode(model.text_vision, nn.functional.pad(vision, (0, 1)))  # to the width of text
            text = plain_decode(model.text_vision, *seen, batch.text[i, :words], False)
            errors["cycle"].append(text - batch.text[i, :words])
        if sounds:
            audio = plain_decode(model.joint_audio, *joint_encoding, batch.audio[i, :sounds], False)
            errors["audio"].append(audio - batch.audio[i, :sounds])
    expected = {name: torch.cat(parts).square().mean() for name, parts in errors.items()}
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    torch.testing.assert_close(losses["total"], losses["task"] + 0.1 * sum(expected.values()))


def test_a_segment_without_text_is_neither_predicted_from_the_others_nor_taught(model, batch):
    output = model(batch)
    assert torch.equal(output.joint.states[1], torch.zeros_like(output.joint.states[1]))
    none = replace(batch, lengths=batch.lengths * torch.tensor([[0], [1], [1]]))
    losses = model.losses(model(none), none.labels)
    assert losses["vision"] == losses["cycle"] == losses["audio"] == 0
    torch.testing.assert_close(model(none).prediction, model.out.bias.expand(5))
