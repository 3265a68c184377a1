"""The bank of encoders; that each stream is the official encoder is shown in test_official.py."""

import torch
from torch import nn

from dmd_model.transformer import EncoderBank, positions


def bank(streams=5, own=2, layers=2) -> EncoderBank:
    torch.manual_seed(0)
    return EncoderBank(streams, own, 8, 2, layers, [0.1] * streams, 0.1, 0.1, 0.1)


def test_streams_do_not_mix():
    """Changing the input of one stream changes the output of that stream only."""
    encoders = bank().eval()
    x, sources = torch.randn(5, 3, 4, 8), torch.randn(3, 3, 4, 8)
    seen = torch.ones(5, 3, 1, 4, dtype=torch.bool)
    before = encoders(x, sources, seen)
    changed = sources.clone()
    changed[1] *= -1
    differs = (encoders(x, changed, seen) - before).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert differs.tolist() == [False, False, False, True, False]


def test_reading_one_step_gives_that_step_of_the_whole():
    encoders = bank(streams=3, own=3).eval()
    x, read = torch.randn(3, 2, 6, 8), torch.tensor([[5, 1], [0, 3], [2, 2]])
    steps = torch.arange(6)
    causal = (steps <= steps[:, None]).expand(3, 1, 6, 6)
    for seen in (torch.ones(3, 2, 1, 6, dtype=torch.bool), causal):
        whole = encoders(x, None, seen)
        expected = whole.take_along_dim(read[:, :, None, None], dim=2).squeeze(2)
        torch.testing.assert_close(encoders(x, None, seen, read=read), expected)


def test_positions_skip_steps_whose_first_channel_is_zero():
    x = torch.ones(1, 4, 6)
    x[0, 2, 0] = 0
    table = positions(x)[0]
    assert not table[2].any() and table[[0, 1, 3]].any(dim=1).all()
    torch.testing.assert_close(table[0], torch.tensor([1, 0.01, 0.0001, 1, 0.01, 0.0001]).sin().where(
        torch.arange(6) < 3, torch.tensor([1, 0.01, 0.0001, 1, 0.01, 0.0001]).cos()))  # fmt: skip


def torch_encoder(encoders: EncoderBank, stream: int) -> nn.TransformerEncoder:
    """PyTorch's own encoder with the weights of one stream."""
    layer = nn.TransformerEncoderLayer(8, 2, 32, norm_first=True, batch_first=True)
    plain = nn.TransformerEncoder(layer, len(encoders.layers), norm=nn.LayerNorm(8), enable_nested_tensor=False).eval()
    for ours, theirs in zip(encoders.layers, plain.layers, strict=True):
        attention = theirs.self_attn
        attention.in_proj_weight.data, attention.in_proj_bias.data = (x[stream].detach() for x in ours.qkv.parameters())
        for stacked, module in (
            (ours.attention_out, attention.out_proj),
            (ours.expand, theirs.linear1),
            (ours.contract, theirs.linear2),
            (ours.attention_norm, theirs.norm1),
            (ours.feedforward_norm, theirs.norm2),
        ):
            module.weight.data, module.bias.data = (x[stream].detach() for x in stacked.parameters())
    return plain


def test_a_self_attending_stream_with_padding_is_pytorchs_encoder():
    encoders = bank(streams=3, own=3).eval()
    x, lengths = torch.randn(3, 4, 6, 8), torch.tensor([6, 1, 3, 5])
    absent = torch.arange(6) >= lengths[:, None]  # [B, T]
    encoded = encoders(x, None, ~absent[None, :, None].expand(3, -1, 1, 6))
    for stream in range(3):
        embedded = x[stream] * 8**0.5 + positions(x[stream])
        expected = torch_encoder(encoders, stream)(embedded, src_key_padding_mask=absent)
        torch.testing.assert_close(encoded[stream][~absent], expected[~absent], rtol=1e-4, atol=1e-5)
