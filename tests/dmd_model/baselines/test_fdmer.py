"""FDMER has the size of its description; its losses are those of explicit loops; the common parts fool."""

import pytest
import torch
import torch.nn.functional as F

from dmd_model.baselines.fdmer import FDMER, FDMERConfig, ReverseGradient, consistency, modality_errors
from tests.dmd_model.baselines.banks import encoder_parameters, parameters

THERE = torch.tensor([[True, True, False, True], [True, False, True, True], [True, True, True, False]])  # [M, B]


def test_size():
    columns, d, layers = (768, 20, 5), 128, 2
    linear = d * d + d
    encoders = sum(columns) * d + 3 * encoder_parameters(d, layers)
    disentangling = linear + 3 * linear  # shared, private
    discriminator = linear + (3 * d + 3)
    fusion = encoder_parameters(d, 1) + d  # attention, score
    head = linear + (d + 1)
    model = FDMER(FDMER.PRESETS["mosi"][0], columns)
    assert parameters(model) == encoders + disentangling + discriminator + fusion + head


def test_reversal_is_the_identity_with_a_negated_gradient():
    x = torch.randn(3, 4, requires_grad=True)
    y = ReverseGradient.apply(x)
    assert torch.equal(y, x)
    (y * torch.arange(4)).sum().backward()
    assert torch.equal(x.grad, -torch.arange(4.0).expand(3, 4))


def test_the_discriminator_learns_and_the_common_encoder_unlearns(unaligned):
    """A gradient step on the adversarial loss of the discriminator lowers it; one of the common encoder raises it."""
    torch.manual_seed(0)
    model = FDMER(FDMERConfig(d=8, heads=2), (6, 5, 4)).eval()
    before = model.losses(model(unaligned), unaligned.labels)["adversarial"]
    before.backward()
    for part, better in ((model.discriminator, True), (model.common, False)):
        for p in part.parameters():
            p.data -= 0.01 * p.grad
        after = model.losses(model(unaligned), unaligned.labels)["adversarial"]
        assert (after < before).item() is better
        for p in part.parameters():
            p.data += 0.01 * p.grad


def test_modality_errors_are_cross_entropies_of_those_there():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 3)
    for errors, part in zip(modality_errors(logits, THERE), logits, strict=True):
        rows = [(part[m, i], m) for m in range(3) for i in range(4) if THERE[m, i]]
        expected = F.cross_entropy(torch.stack([row for row, _ in rows]), torch.tensor([m for _, m in rows]))
        torch.testing.assert_close(errors, expected)


def test_consistency_compares_cosines_between_samples_that_have_both_modalities():
    torch.manual_seed(0)
    common = torch.randn(3, 4, 5)
    differences = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        shared = [i for i in range(4) if THERE[a, i] and THERE[b, i]]
        for i in shared:
            for j in shared:
                cosines = [F.cosine_similarity(common[m, i], common[m, j], dim=0) for m in (a, b)]
                differences.append((cosines[0] - cosines[1]) ** 2)
    torch.testing.assert_close(consistency(common, THERE), torch.stack(differences).mean())
    assert consistency(common[:1].expand(3, 4, 5), THERE) == pytest.approx(0, abs=1e-10)
