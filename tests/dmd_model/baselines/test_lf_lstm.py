"""LF-LSTM: its size, and that it joins the final states of three LSTMs, each over as many steps as there are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd_model.baselines.lf_lstm import LFLSTM, LFLSTMConfig
from dmd_model.batch import Batch, DeviceSamples

COLUMNS = (6, 5, 4)


@pytest.fixture
def batch(make_samples) -> Batch:
    """Segments whose modalities have unlike lengths; one has no audio."""
    batch = DeviceSamples(make_samples(5), (50, 50, 50), False, torch.device("cpu")).batch(np.arange(5))
    lengths = batch.lengths.clone()
    lengths[1] -= 1
    lengths[2, 3] = 0
    return replace(batch, lengths=lengths)


def test_the_mosi_preset_has_the_size_of_its_architecture():
    columns, states, hidden = (768, 20, 5), (128, 128, 16), 128
    lstms = sum(4 * state * (width + state + 2) for width, state in zip(columns, states, strict=True))
    head = hidden * (sum(states) + 1) + (hidden + 1)
    model = LFLSTM(LFLSTM.PRESETS["mosi"][0], columns)
    assert sum(p.numel() for p in model.parameters()) == lstms + head


def test_it_joins_the_final_states_of_the_steps_there_are(batch):
    torch.manual_seed(0)
    model = LFLSTM(LFLSTMConfig(hidden=(7, 8, 9), head_hidden=10), COLUMNS).eval()
    expected = []
    for i in range(5):
        finals = []
        for lstm, x, length in zip(model.lstms, batch.sequences, batch.lengths[:, i].tolist(), strict=True):
            finals.append(lstm.lstm(x[i, :length])[1][0][0] if length else torch.zeros(lstm.width))
        expected.append(model.head(torch.cat(finals)))
    torch.testing.assert_close(model(batch).prediction, torch.cat(expected))
