"""MFM: its size, MFN's memory and the decoders step by step, the losses by loops, and what depends on which factor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dmd_model.baselines.mfm import MFM, Decoder, MFMConfig
from dmd_model.batch import Batch, DeviceSamples
from dmd_model.discrepancy import maximum_mean_discrepancy

COLUMNS = (6, 5, 4)
SMALL = MFMConfig(
    cells=(5, 4, 3), memory=6, attention_hidden=7, proposal_hidden=5, retain_hidden=4, update_hidden=3,
    shared_code=5, shared_factor=4, codes=(6, 5, 4), factors=(3, 4, 2),
)  # fmt: skip


@pytest.fixture
def batch(make_samples) -> Batch:
    return DeviceSamples(make_samples(4), (50, 50, 50), False, torch.device("cpu")).batch(np.arange(4))


@pytest.fixture
def model() -> MFM:
    torch.manual_seed(0)
    return MFM(SMALL, COLUMNS).eval()


def test_the_mosi_preset_has_the_size_of_its_architecture():
    columns, cells, codes, factors = (768, 20, 5), (128, 128, 32), (64, 80, 80), (32, 64, 16)
    total, memory, shared_code, shared = 128 + 128 + 32, 64, 80, 64

    def lstm(inputs: int, hidden: int) -> int:
        return 4 * hidden * (inputs + hidden + 2)

    def linear(inputs: int, outputs: int) -> int:
        return outputs * (inputs + 1)

    expected = linear(2 * total, 32) + linear(32, 2 * total)  # attention
    expected += linear(2 * total, 64) + linear(64, memory)  # proposal
    expected += linear(2 * total + memory, 32) + linear(32, memory)  # retain
    expected += linear(2 * total + memory, 64) + linear(64, memory)  # update
    expected += linear(total + memory, shared_code) + linear(shared_code, shared) + linear(shared, shared)
    expected += linear(shared, shared) + linear(shared, 1)  # head
    for d, cell, code, factor in zip(columns, cells, codes, factors, strict=True):
        expected += lstm(d, cell)
        expected += lstm(d, code) + linear(code, code) + linear(code, factor) + linear(factor, factor)
        expected += lstm(shared + factor, shared + factor) + linear(shared + factor, d)
    model = MFM(MFM.PRESETS["mosi"][0], columns)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_memory_fusion_word_by_word(model, batch):
    fusion = model.fusion
    fused = fusion(batch.sequences, batch.lengths)
    for i, length in enumerate(batch.lengths[0].tolist()):
        states = [(torch.zeros(1, h), torch.zeros(1, h)) for h in SMALL.cells]
        memory = torch.zeros(1, SMALL.memory)
        for t in range(length):
            before = [c for _, c in states]
            states = [
                cell(x[i, t : t + 1], state)
                for cell, x, state in zip(fusion.cells, batch.sequences, states, strict=True)
            ]
            change = torch.cat([*before, *(c for _, c in states)], dim=1)
            attended = torch.softmax(fusion.attention(change), dim=1) * change
            proposed = torch.tanh(fusion.proposal(attended))
            seen = torch.cat([attended, memory], dim=1)
            retain, update = torch.sigmoid(fusion.retain(seen)), torch.sigmoid(fusion.update(seen))
            memory = retain * memory + update * proposed
        torch.testing.assert_close(fused[i : i + 1], torch.cat([*(h for h, _ in states), memory], dim=1))


def test_a_decoder_is_an_lstm_that_is_fed_its_own_state():
    torch.manual_seed(0)
    decoder, cell = Decoder(5, 3), nn.LSTMCell(5, 5)
    lstm = decoder.lstm
    weights = {"weight_ih": lstm.weight_ih_l0, "weight_hh": lstm.weight_hh_l0 - lstm.weight_ih_l0,
               "bias_ih": lstm.bias_ih_l0, "bias_hh": lstm.bias_hh_l0}  # fmt: skip
    cell.load_state_dict(weights)
    factor = torch.randn(2, 5)
    state, fed, expected = None, factor, []
    for _ in range(4):
        state = cell(fed, state)
        fed = state[0]
        expected.append(decoder.out(fed))
    torch.testing.assert_close(decoder(factor, 4), torch.stack(expected, dim=1))


def test_losses_by_loops(model, batch):
    output = model(batch)
    torch.manual_seed(7)
    terms = model.losses(output, batch.labels)

    assert terms["task"].item() == pytest.approx(np.abs(output.prediction.tolist() - batch.labels.numpy()).mean())
    for m, name in enumerate(("text", "vision", "audio")):
        generated = model.decoders[m](output.factors[m], batch.text.shape[1])
        errors = [
            (generated[i, t, j] - batch.sequences[m][i, t, j]).item() ** 2
            for i in range(4) for t in range(int(batch.lengths[m, i])) for j in range(COLUMNS[m])
        ]  # fmt: skip
        assert terms[f"generation_{name}"].item() == pytest.approx(np.mean(errors), rel=1e-5)
    torch.manual_seed(7)
    codes = (output.shared_code, *output.codes)
    prior = sum(maximum_mean_discrepancy(code, torch.randn_like(code)) for code in codes)
    torch.testing.assert_close(terms["prior"], prior)
    generation = 0.5 * terms["generation_text"] + 0.5 * terms["generation_vision"] + 0.01 * terms["generation_audio"]
    torch.testing.assert_close(terms["total"], terms["task"] + generation + 100 * terms["prior"])


def test_the_label_depends_on_the_shared_factor_alone(model, batch):
    model(batch).prediction.sum().backward()
    own = [*model.encoders.parameters(), *model.to_codes.parameters(), *model.to_factors.parameters()]
    assert all(p.grad is None for p in [*own, *model.decoders.parameters()])
    assert all(p.grad is not None for p in [*model.fusion.parameters(), *model.to_shared_factor.parameters()])


def test_an_absent_modality_is_not_scored(model, batch):
    lengths = batch.lengths.clone()
    lengths[1] = 0
    part = replace(batch, vision=torch.zeros_like(batch.vision), lengths=lengths)
    terms = model.losses(model(part), part.labels)
    assert terms["generation_vision"] == 0
    terms["total"].backward()
    silent = [*model.encoders[1].parameters(), *model.to_codes[1].parameters(), *model.decoders[1].parameters()]
    assert not any(p.grad.any() for p in silent)
    assert not model.fusion(part.sequences, lengths)[:, 5 : 5 + 4].any()  # the states of its LSTM
