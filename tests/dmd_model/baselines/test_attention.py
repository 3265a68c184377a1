"""Attentions of a bank are PyTorch's, stream by stream; a sample that sees nothing hears nothing."""

import torch

from dmd_model.baselines.attention import Attention
from tests.dmd_model.baselines.banks import randomise


def test_each_stream_is_the_attention_of_pytorch():
    torch.manual_seed(0)
    bank = randomise(Attention(2, 8, 4, 0.1))
    x, source = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 6, 8)
    seen = torch.arange(6) < torch.tensor([[6, 2, 1], [3, 4, 6]])[..., None]
    heard = bank(x, source, seen)
    for s in range(2):
        reference = torch.nn.MultiheadAttention(8, 4, batch_first=True)
        reference.in_proj_weight.data = torch.cat([bank.query.weight[s], bank.key_value.weight[s]])
        reference.in_proj_bias.data = torch.cat([bank.query.bias[s], bank.key_value.bias[s]])
        reference.out_proj.weight.data, reference.out_proj.bias.data = bank.out.weight[s], bank.out.bias[s]
        expected, _ = reference(x[s], source[s], source[s], key_padding_mask=~seen[s])
        torch.testing.assert_close(heard[s], expected)


def test_a_sample_that_sees_nothing_hears_nothing():
    torch.manual_seed(0)
    bank = randomise(Attention(1, 8, 2, 0.0))
    x, source = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 4, 8, requires_grad=True)
    heard = bank(x, source, torch.tensor([[[True, True, False, False], [False] * 4]]))
    assert heard[0, 0].all()
    assert not heard[0, 1].any()
    heard.sum().backward()
    assert torch.isfinite(source.grad).all()
    assert not source.grad[0, 1].any()
