"""The sub-networks of TFN and LMF: what each reads of its modality, and the statistics of their norm."""

import pytest
import torch

from dmd_model.baselines.subnetworks import RunningNorm, SubNetworks

COLUMNS = (6, 5, 4)


@pytest.fixture
def networks() -> SubNetworks:
    torch.manual_seed(0)
    return SubNetworks(COLUMNS, (7, 3, 2), 5, (0.0, 0.0, 0.0)).eval()


def test_text_is_its_last_word_s_state_and_the_others_are_means(networks, unaligned):
    text, vision, audio = networks(unaligned)
    assert [x.shape for x in (text, vision, audio)] == [(3, 1 + 5), (3, 1 + 3), (3, 1 + 2)]
    for i, (words, frames, _) in enumerate(unaligned.lengths.T.tolist()):
        _, (state, _) = networks.text.recurrent.lstm(unaligned.text[i, :words])
        torch.testing.assert_close(text[i], torch.cat([torch.ones(1), networks.text.out(state[-1])]))
        h = unaligned.vision[i, :frames].mean(dim=0) / (1 + networks.vision.norm.eps) ** 0.5  # as nothing was seen yet
        for layer in networks.vision.layers:
            h = (layer.weight @ h + layer.bias).clamp(min=0)
        torch.testing.assert_close(vision[i], torch.cat([torch.ones(1), h]))


def test_an_absent_modality_is_a_one_and_zeros(networks, unaligned):
    lengths = unaligned.lengths
    lengths[:, 1] = 0
    for vector in networks(unaligned):
        assert vector[1].tolist() == [1] + [0] * (vector.shape[1] - 1)


def test_the_norm_standardises_alike_in_training_and_in_use():
    torch.manual_seed(0)
    norm = RunningNorm(2)
    for _ in range(200):
        x = torch.randn(64, 2) * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0])
        norm(x, torch.ones(64, dtype=torch.bool))
    torch.testing.assert_close(norm.running_mean, torch.tensor([5.0, -1.0]), atol=0.3, rtol=0)
    torch.testing.assert_close(norm.running_var, torch.tensor([9.0, 0.04]), atol=0, rtol=0.2)
    in_training = norm(x, torch.ones(64, dtype=torch.bool))
    torch.testing.assert_close(norm.eval()(x, torch.ones(64, dtype=torch.bool)), in_training)
    expected = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(in_training, expected)


def test_absent_rows_are_not_in_the_statistics():
    norm, other = RunningNorm(2), RunningNorm(2)
    x, kept = torch.randn(5, 2), torch.tensor([True, True, False, True, False])
    assert not norm(x, kept)[~kept].any()
    other(x[kept], torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    torch.testing.assert_close(norm.running_var, other.running_var)
