"""MICA has the size of its description; its losses are those of explicit loops; equal distributions cost nothing."""

import pytest
import torch
import torch.nn.functional as F

from dmd_model.baselines.mica import MICA, MICAConfig, element_discrepancy, marginal_discrepancy
from tests.dmd_model.baselines.banks import encoder_parameters, parameters


def test_size():
    columns, d, layers, kernel = (768, 20, 5), 40, 4, 3
    convolutions = sum(columns) * kernel * d
    encoders = 6 * encoder_parameters(d, layers) + 3 * encoder_parameters(2 * d, layers)
    head = 2 * ((6 * d) ** 2 + 6 * d) + (6 * d + 1)
    assert parameters(MICA(MICA.PRESETS["mosi"][0], columns)) == convolutions + encoders + head


def _explicit_discrepancy(x, y):
    """MMD of two lists of vectors under five Gaussian kernels."""
    z = [*x, *y]
    scale = sum(float((a - b).square().sum()) for a in z for b in z) / len(z) ** 2

    def mean_kernel(left, right):
        kernels = [
            sum(torch.exp(-(a - b).square().sum() / (scale * width)) for width in (0.25, 0.5, 1, 2, 4)) / 5
            for a in left for b in right
        ]  # fmt: skip
        return sum(kernels) / len(kernels)

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def test_marginal_discrepancy_is_the_mmd_of_the_samples_that_have_both():
    torch.manual_seed(0)
    queries, keys = torch.randn(2, 3, 4, 5), 1 + torch.randn(2, 3, 4, 5)
    there = torch.tensor([[True, True, False, True], [True, False, True, False], [False] * 4])
    found = [
        _explicit_discrepancy(queries[layer, s][there[s]], keys[layer, s][there[s]])
        for layer in range(2) for s in range(2)  # nobody has both modalities of the last stream
    ]  # fmt: skip
    torch.testing.assert_close(marginal_discrepancy(queries, keys, there), torch.stack(found).mean())
    assert marginal_discrepancy(queries, queries.flip(2), there | True) == pytest.approx(0, abs=1e-6)


def test_element_discrepancy_chooses_mutual_nearest_neighbours():
    torch.manual_seed(0)
    queries, keys = torch.randn(2, 3, 2, 5, 4), torch.randn(2, 3, 2, 5, 4)
    asking, asked = torch.tensor([[3, 5], [4, 0], [1, 2]]), torch.tensor([[5, 2], [1, 3], [4, 0]])  # lengths [S, B]
    valid = (torch.arange(5) < asking[..., None])[..., None] & (torch.arange(5) < asked[..., None])[..., None, :]
    found = []
    for layer in range(2):
        for s in range(3):
            for b in range(2):
                q, k = queries[layer, s, b, : asking[s, b]], keys[layer, s, b, : asked[s, b]]
                if len(q) == 0 or len(k) == 0:
                    continue
                cosine = F.cosine_similarity(q[:, None], k[None], dim=-1)
                for i, j in enumerate(cosine.argmax(dim=1).tolist()):
                    if cosine[:, j].argmax() == i:
                        found.append(F.cross_entropy(10 * cosine[i], torch.tensor(j)))
    torch.testing.assert_close(element_discrepancy(queries, keys, valid), torch.stack(found).mean())


def test_alignment_brings_queries_and_keys_together(unaligned):
    """A few steps on the two alignment losses alone lower both."""
    torch.manual_seed(0)
    model = MICA(MICAConfig(d=8, heads=2, layers=2), (6, 5, 4)).eval()
    optimiser = torch.optim.Adam(model.layers.parameters(), lr=1e-2)
    history = []
    for _ in range(10):
        terms = model.losses(model(unaligned), unaligned.labels)
        history.append((terms["marginal"].item(), terms["element"].item()))
        optimiser.zero_grad()
        (terms["marginal"] + terms["element"]).backward()
        optimiser.step()
    assert all(after < before for before, after in zip(history[0], history[-1], strict=True))
