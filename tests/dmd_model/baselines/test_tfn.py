"""TFN: its size, that it fuses by an outer product, and what that leaves where a modality is absent."""

import torch

from dmd_model.baselines.tfn import TFN, TFNConfig, tensor_fusion

COLUMNS = (6, 5, 4)


def test_the_mosi_preset_has_the_size_of_its_architecture():
    text, vision, audio = 768, 20, 5
    text_network = 4 * 128 * (text + 128 + 2) + 32 * (128 + 1)  # LSTM with two biases, then linear

    def mean_network(width: int, hidden: int) -> int:
        return 2 * width + hidden * (width + 1) + 2 * hidden * (hidden + 1)  # norm, three layers

    fused = (1 + 32) * (1 + 128) * (1 + 32)
    head = 64 * (fused + 1) + 64 * (64 + 1) + (64 + 1)
    model = TFN(TFN.PRESETS["mosi"][0], (text, vision, audio))
    expected = text_network + mean_network(vision, 128) + mean_network(audio, 32) + head
    assert sum(p.numel() for p in model.parameters()) == expected


def test_fusion_is_the_outer_product():
    torch.manual_seed(0)
    text, vision, audio = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 5)
    fused = tensor_fusion(text, vision, audio)
    assert fused.shape == (2, 3, 4, 5)
    for i in range(2):
        expected = torch.kron(torch.kron(text[i], vision[i]), audio[i])
        torch.testing.assert_close(fused[i].flatten(), expected)


def test_predictions_are_the_head_s_squashed_to_the_labels_range(unaligned):
    torch.manual_seed(0)
    model = TFN(TFNConfig(hidden=(7, 3, 2), text_out=5, fusion_hidden=8), COLUMNS).eval()
    logits = model.head(tensor_fusion(*model.subnetworks(unaligned)).flatten(1))[:, 0]
    prediction = model(unaligned).prediction
    torch.testing.assert_close(prediction, 6 / (1 + (-logits).exp()) - 3)
    torch.nn.init.constant_(model.head[-1].bias, 50)
    torch.testing.assert_close(model(unaligned).prediction, torch.full((3,), 3.0))


def test_without_a_modality_the_product_of_the_others_is_left(unaligned):
    model = TFN(TFNConfig(hidden=(7, 3, 2), text_out=5), COLUMNS).eval()
    unaligned.lengths[1] = 0
    text, vision, audio = model.subnetworks(unaligned)
    fused = tensor_fusion(text, vision, audio)
    torch.testing.assert_close(fused[:, :, 0], text[:, :, None] * audio[:, None])
    assert not fused[:, :, 1:].any()
