"""Properties of the loss terms of feature decoupling, and the margin loss against its definition."""

import itertools

import pytest
import torch

from dmd_model import losses

PRESENT = torch.tensor([[[True] * 5, [True, True, True, False, False]]]).expand(3, 2, 5)


def sequences(seed: int) -> torch.Tensor:
    return torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(seed)) * PRESENT[..., None]


def test_squared_error_is_the_mean_over_the_steps_that_take_part():
    x, y = sequences(1), sequences(2)
    expected = sum((x[m] - y[m])[PRESENT[m]].square().mean() for m in range(3))
    torch.testing.assert_close(losses.squared_error(x, y, PRESENT, "mean"), expected)
    summed = sum((x[m] - y[m])[PRESENT[m]].square().sum() / 2 for m in range(3))
    torch.testing.assert_close(losses.squared_error(x, y, PRESENT, "sum"), summed)
    assert losses.squared_error(x, x, PRESENT, "mean") == 0


@pytest.mark.parametrize("axis", ["batch", "feature"])
def test_orthogonality_is_largest_for_equal_parts_and_zero_for_orthogonal_ones(axis):
    x = sequences(1)
    assert losses.orthogonality(x, x, PRESENT, axis, "square") == pytest.approx(3, abs=1e-4)
    sign = torch.tensor([1.0, -1.0])  # flips half of the axis, whose halves have equal norms
    if axis == "feature":
        orthogonal = torch.cat([x[..., :2], x[..., :2]], -1), torch.cat([x[..., :2], -x[..., :2]], -1)
        assert losses.orthogonality(*orthogonal, PRESENT, axis, "square") == pytest.approx(0, abs=1e-6)
    else:
        same = x[:, :1].expand(-1, 2, -1, -1)
        full = torch.ones_like(PRESENT)
        assert losses.orthogonality(same, same * sign[:, None, None], full, axis, "square") == pytest.approx(
            0, abs=1e-6
        )


def test_only_the_square_form_minds_opposite_parts():
    x = sequences(1)
    assert losses.orthogonality(x, -x, PRESENT, "feature", "hinge") == 0
    assert losses.orthogonality(x, -x, PRESENT, "feature", "square") == pytest.approx(3, abs=1e-4)


def test_the_error_counts_the_samples_that_have_the_modality():
    logits, labels = torch.tensor([[1.0, 5.0], [2.0, 3.0], [9.0, 9.0]]), torch.tensor([0.0, 1.0])
    there = torch.tensor([[True, False], [True, True], [False, False]])
    assert losses.error_by_head(logits, labels, there) == 1 + (2 + 2) / 2
    assert losses.error_by_head(logits, labels, torch.ones(3, 1, dtype=torch.bool)) == (1 + 4 + 2 + 2 + 9 + 8) / 2


def test_the_error_of_emotions_is_their_mean_cross_entropy():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 0.0]]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = -torch.tensor([[2.0, 1.0], [-0.5, 0.0]]).sigmoid().log().mean(dim=1)
    torch.testing.assert_close(losses.error(logits[0], labels), expected)
    there = torch.tensor([[True, False]])
    torch.testing.assert_close(losses.error_by_head(logits, labels, there), expected[0])


def plain_margin(vectors, labels, there, triplet, form, margin):
    """The definition, anchor by anchor."""
    items = [(m, b) for m in range(3) for b in range(len(labels)) if there[m, b]]
    unit = {(m, b): vectors[m, b] / (vectors[m, b].square().sum() + 1e-8).sqrt() for m, b in items}
    of_anchors = []
    for anchor in items:
        found = []
        for p, n in itertools.product(items, items):
            y, y_p, y_n = (labels[item[1]].reshape(-1) for item in (anchor, p, n))
            if triplet == "official":
                chosen = p != anchor and y_p.equal(y) and not y_n.equal(y)
            else:
                y_class, p_class, n_class = (label.round() for label in (y, y_p, y_n))
                other_modality, same_modality = p[0] != anchor[0], n[0] == anchor[0]
                chosen = other_modality and p_class.equal(y_class) and same_modality and not n_class.equal(y_class)
            if chosen:
                distance = margin * (y - y_n).abs().sum() if form == "label_distance" else margin
                found.append((distance - unit[anchor] @ unit[p] + unit[anchor] @ unit[n]).clamp(min=0))
        if found:
            of_anchors.append(torch.stack(found).mean())
    return torch.stack(of_anchors).mean() if of_anchors else torch.tensor(0.0)


@pytest.mark.parametrize("triplet", ["official", "paper"])
@pytest.mark.parametrize("labels", [[1.2, -0.4, 1.2, 1.0], [2.0, 2.0, 2.0, 2.0], [-1.0, 0.6, 3.0, -2.8],
                                    [[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])  # fmt: skip
@pytest.mark.parametrize("absent", [[], [(0, 1), (2, 1), (1, 3)]])
@pytest.mark.parametrize("form", ["label_distance", "constant"])
def test_the_margin_loss_is_its_definition(triplet, labels, absent, form):
    vectors = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    labels = torch.tensor(labels)
    there = torch.ones(3, 4, dtype=torch.bool)
    for m, b in absent:
        there[m, b] = False
    loss = losses.margin(vectors, labels, there, triplet, form, 0.15)
    torch.testing.assert_close(loss, plain_margin(vectors, labels, there, triplet, form, 0.15))
    loss.backward()
    assert torch.isfinite(vectors.grad).all()


def test_a_batch_of_one_class_has_no_margin_loss():
    assert (
        losses.margin(torch.randn(3, 1, 5), torch.tensor([1.0]), torch.ones(3, 1) > 0, "official", "constant", 0.15)
        == 0
    )


def test_the_cosine_of_a_zero_vector_is_zero_with_a_finite_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    similarity = losses.cosine(x, torch.ones(2, 3), dim=1)
    similarity.sum().backward()
    assert not similarity.detach().any() and torch.isfinite(x.grad).all()
