"""The graph distillation unit: who teaches whom, and with what weight."""

import pytest
import torch

from dmd_model.config import DMDConfig
from dmd_model.graph_distillation import EDGES, HOMO_PRIOR, STUDENTS, TEACHERS, GraphDistillation

ALL = torch.ones(3, 1, dtype=torch.bool)


def unit(representation: str = "imitate", **settings) -> GraphDistillation:
    torch.manual_seed(0)
    return GraphDistillation(DMDConfig(**settings), 5, 7, HOMO_PRIOR, representation)


def batch():
    random = torch.Generator().manual_seed(1)
    return torch.randn(3, 4, generator=random), torch.randn(3, 4, 5, generator=random)


def test_edges_are_named_teacher_to_student():
    assert EDGES == ("V→L", "A→L", "L→V", "A→V", "L→A", "V→A")


@pytest.mark.parametrize("softmax, groups", [("joint", 1), ("student", 3)])
def test_edge_weights_are_distributions(softmax, groups):
    edges = unit(edge_softmax=softmax)(*batch(), ALL).edges
    torch.testing.assert_close(edges.view(groups, -1, 4).sum(dim=1), torch.ones(groups, 4))


def test_the_official_prior_favours_text_as_the_teacher():
    prior = unit(edge_softmax="joint", edge_prior="hand_set").prior
    assert prior.tolist() == pytest.approx([0.00883, 0.00883, 0.48233, 0.00883, 0.48233, 0.00883], abs=1e-5)


def test_the_uniform_prior_draws_to_equal_weights_and_adds_nothing():
    distillation = unit()
    logits, representations = batch()
    result = distillation(logits, representations, ALL)
    assert distillation.prior.tolist() == pytest.approx([0.5] * 6)
    gaps = (logits[list(STUDENTS)] - logits[list(TEACHERS)]).abs()
    torch.testing.assert_close(result.logit, (result.edges * gaps).mean(dim=1).sum())


@pytest.mark.parametrize("softmax", ["joint", "student"])
@pytest.mark.parametrize("prior", ["hand_set", "uniform"])
@pytest.mark.parametrize("representation", ["l1", "repel", "imitate"])
def test_an_absent_modality_neither_teaches_nor_learns(softmax, prior, representation):
    """Sample 1 has no vision, sample 2 only text: what vision says there changes no term, and no edge leads to it."""
    distillation = unit(representation, edge_softmax=softmax, edge_prior=prior)
    there = torch.tensor([[True, True, True, True], [True, False, False, True], [True, True, False, True]])
    logits, representations = batch()
    changed = logits.masked_fill(~there, 9.0), representations.masked_fill(~there[..., None], 9.0)
    before, after = distillation(logits, representations, there), distillation(*changed, there)
    torch.testing.assert_close(vars(before), vars(after))
    exists = there[list(STUDENTS)] & there[list(TEACHERS)]
    assert ((before.edges > 0) == exists).all()
    torch.testing.assert_close(before.edges[[1, 4], 1].sum(), torch.tensor(1.0 if softmax == "joint" else 2.0))


@pytest.mark.parametrize("representation", ["l1", "repel", "imitate"])
def test_a_teacher_is_not_changed_by_its_student(representation):
    """With the edges held, gradients reach students only: here text and audio teach vision."""
    distillation = unit(representation)
    logits, representations = (x.requires_grad_() for x in batch())
    weights = torch.zeros(6, 4)
    weights[2:4] = 1
    distillation.edges = lambda *_: weights
    result = distillation(logits, representations, ALL)
    (result.logit + result.representation).backward()
    assert representations.grad[1].any() and logits.grad[1].any()
    assert not representations.grad[[0, 2]].any() and not logits.grad[[0, 2]].any()


def test_imitation_draws_together_what_repulsion_drives_apart():
    """One step down the gradient of a student raises its cosine to the teacher, or lowers it."""
    for representation, sign in (("imitate", 1), ("repel", -1)):
        _, representations = batch()
        representations = representations.abs().requires_grad_()
        unit(representation)(torch.zeros(3, 4), representations, ALL).representation.backward()
        before = torch.cosine_similarity(representations[0], representations[1].detach())
        after = torch.cosine_similarity(
            representations[0] - 0.01 * representations.grad[0], representations[1].detach()
        )
        assert (sign * (after - before).mean()) > 0
