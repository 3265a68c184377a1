"""LMF: its size, and that it is a linear map of TFN's tensor with a weight of low rank."""

import torch

from dmd_model.baselines.lmf import LMF, LMFConfig
from dmd_model.baselines.tfn import tensor_fusion

COLUMNS = (6, 5, 4)


def test_the_mosi_preset_has_the_size_of_its_architecture():
    text, vision, audio = 768, 20, 5
    text_network = 4 * 128 * (text + 128 + 2) + 64 * (128 + 1)  # LSTM with two biases, then linear

    def mean_network(width: int, hidden: int) -> int:
        return 2 * width + hidden * (width + 1) + 2 * hidden * (hidden + 1)  # norm, three layers

    rank = 3
    fusion = rank * ((1 + 64) + (1 + 128) + (1 + 16)) + rank + 1
    model = LMF(LMF.PRESETS["mosi"][0], (text, vision, audio))
    expected = text_network + mean_network(vision, 128) + mean_network(audio, 16) + fusion
    assert sum(p.numel() for p in model.parameters()) == expected


def test_it_is_full_tensor_fusion_with_the_low_rank_weight_written_out(unaligned):
    torch.manual_seed(0)
    rank = 4
    model = LMF(LMFConfig(hidden=(7, 3, 2), text_out=5, rank=rank), COLUMNS).eval()
    text, vision, audio = model.factors
    weight = sum(
        model.out.weight[0, r] * text[r][:, None, None] * vision[r][:, None] * audio[r] for r in range(rank)
    )  # [1 + 5, 1 + 3, 1 + 2]
    fused = tensor_fusion(*model.subnetworks(unaligned))
    expected = (fused * weight).sum(dim=(1, 2, 3)) + model.out.bias
    torch.testing.assert_close(model(unaligned).prediction, expected)
    assert torch.linalg.matrix_rank(weight.flatten(1)) <= rank


def test_rows_of_the_factors_begin_with_the_weight_of_the_one(unaligned):
    """Without any content, the prediction is that of the ones alone."""
    model = LMF(LMFConfig(hidden=(7, 3, 2), text_out=5), COLUMNS).eval()
    unaligned.lengths[:] = 0
    ones = torch.stack([factor[:, 0] for factor in model.factors]).prod(dim=0)
    torch.testing.assert_close(model(unaligned).prediction, model.out(ones).expand(3))
