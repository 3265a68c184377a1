"""EF-LSTM: its size, that it reads a segment's concatenated words and no padding, and that words must be aligned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd_model.baselines.ef_lstm import EFLSTM, EFLSTMConfig
from dmd_model.batch import Batch, DataError, DeviceSamples

COLUMNS = (6, 5, 4)


@pytest.fixture
def batch(make_samples) -> Batch:
    return DeviceSamples(make_samples(5), (50, 50, 50), False, torch.device("cpu")).batch(np.arange(5))


@pytest.fixture
def model() -> EFLSTM:
    torch.manual_seed(0)
    return EFLSTM(EFLSTMConfig(hidden=7, layers=2), COLUMNS)


def test_the_mosi_preset_has_the_size_of_its_architecture():
    columns, hidden, layers = 768 + 20 + 5, 128, 4
    norm = 2 * columns
    widths = [columns] + [hidden] * (layers - 1)
    lstm = sum(4 * hidden * (width + hidden + 2) for width in widths)
    head = hidden * (hidden + 1) + (hidden + 1)
    model = EFLSTM(EFLSTM.PRESETS["mosi"][0], (768, 20, 5))
    assert sum(p.numel() for p in model.parameters()) == norm + lstm + head


def test_it_reads_the_concatenated_words_of_each_segment_alone(model, batch):
    model(batch)  # in training: gives the norm its statistics
    model.eval()
    expected = []
    for i, length in enumerate(batch.lengths[0].tolist()):
        words = torch.cat([x[i, :length] for x in batch.sequences], dim=1)
        words = (words - model.norm.running_mean) / (model.norm.running_var + model.norm.eps).sqrt()
        _, (final, _) = model.lstm.lstm(words)
        expected.append(model.head(final[-1]))
    torch.testing.assert_close(model(batch).prediction, torch.cat(expected))


def test_padding_is_not_in_the_statistics_of_the_norm(model, batch):
    model(batch)
    words = torch.cat([torch.cat([x[i, :length] for x in batch.sequences], dim=1)
                       for i, length in enumerate(batch.lengths[0].tolist())])  # fmt: skip
    torch.testing.assert_close(model.norm.running_mean, model.norm.momentum * words.mean(dim=0))


def test_modalities_of_unlike_lengths_are_refused(model, batch):
    lengths = batch.lengths.clone()
    lengths[1, 3] -= 1
    with pytest.raises(DataError, match="word-aligned"):
        model(replace(batch, lengths=lengths))
