"""Discrepancies against loops over samples and features, on subsets, and where they are degenerate."""

import math

import pytest
import torch

from dmd_model.discrepancy import central_moments, maximum_mean_discrepancy, soft_orthogonality

ALL = [central_moments, maximum_mean_discrepancy, soft_orthogonality]
each = pytest.mark.parametrize("discrepancy", ALL)


def sets(samples: int = 6, width: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.rand(samples, width, requires_grad=True) for _ in range(2)]


def test_central_moments_of_every_feature():
    x, y = sets()

    def moment(column: list[float], k: int) -> float:
        mean = sum(column) / len(column)
        return mean if k == 1 else sum((value - mean) ** k for value in column) / len(column)

    expected = 0
    for k in range(1, 5 + 1):
        squares = [(moment(a, k) - moment(b, k)) ** 2 for a, b in zip(x.T.tolist(), y.T.tolist(), strict=True)]
        expected += math.sqrt(sum(squares))
    assert central_moments(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_maximum_mean_discrepancy_of_every_pair():
    x, y = sets()
    x = 10 * x[:4]  # of unlike size

    def mean_kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        kernels = [math.exp(-((u - v) ** 2).mean().item() / 3) for u in a for v in b]
        return sum(kernels) / len(kernels)

    expected = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    assert maximum_mean_discrepancy(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_soft_orthogonality_of_every_pair_of_features():
    x, y = sets()
    rows = [[row / row.norm() for row in z - z.mean(dim=0)] for z in (x, y)]
    squares = [sum(a[i] * b[j] for a, b in zip(*rows, strict=True)) ** 2 for i in range(3) for j in range(3)]
    assert soft_orthogonality(x, y).item() == pytest.approx(sum(squares).item() / 9, rel=1e-5)


@each
def test_only_kept_samples_count(discrepancy):
    x, y = sets()
    kept = torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(discrepancy(x, y, kept=kept), discrepancy(x[kept], y[kept]))


@each
@pytest.mark.parametrize("kept", [[False] * 6, [False, True] + [False] * 4])
def test_gradients_of_no_sample_and_of_one_are_finite(discrepancy, kept):
    x, y = sets()
    value = discrepancy(x, y, kept=torch.tensor(kept))
    value.backward()
    assert x.grad.isfinite().all() and y.grad.isfinite().all()
    assert value.isfinite() and (any(kept) or value == 0)


@each
def test_gradients_of_equal_sets_are_finite(discrepancy):
    x, _ = sets()
    y = x.detach().clone().requires_grad_()
    value = discrepancy(x, y)
    value.backward()
    assert x.grad.isfinite().all() and y.grad.isfinite().all()
    if discrepancy is not soft_orthogonality:
        assert abs(value.item()) < 1e-6
