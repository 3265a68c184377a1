"""What holds for DMD whatever its weights: padding, ablations, gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd_model import parallel
from dmd_model.batch import Batch, DeviceSamples
from dmd_model.config import DMDConfig
from dmd_model.dmd import DMD

SMALL = DMDConfig(d=8, heads=2, layers=2, memory_layers=1)


@pytest.fixture
def batch(make_samples) -> Batch:
    """Five samples: an odd number, so that the signs of an L1 loss cannot cancel."""
    samples = DeviceSamples(make_samples(5), (50, 50, 50), False, torch.device("cpu"))
    return samples.batch(np.arange(5))


def build(config: DMDConfig) -> DMD:
    torch.manual_seed(0)
    return DMD(config, (6, 5, 4))


def padded(batch: Batch, steps: tuple[int, int, int]) -> Batch:
    grown = {
        name: torch.nn.functional.pad(getattr(batch, name), (0, 0, 0, more))
        for name, more in zip(("text", "vision", "audio"), steps, strict=True)
    }
    return replace(batch, **grown)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [(4, 4, 4), (0, 7, 2)])
def test_more_padding_changes_nothing(batch, causal, steps):
    """Predictions and every loss term, and the gradients, are those of the batch without the padding."""
    model = build(replace(SMALL, causal=causal)).eval()
    found = []
    for given in (batch, padded(batch, steps)):
        model.zero_grad()
        output = model(given)
        terms = model.losses(output, given.labels)
        terms["total"].backward()
        found.append((output.prediction, terms, [parameter.grad.clone() for parameter in model.parameters()]))
    (prediction, terms, gradients), (prediction_2, terms_2, gradients_2) = found
    torch.testing.assert_close(prediction_2, prediction, rtol=1e-5, atol=1e-6)
    for name in terms:
        torch.testing.assert_close(terms_2[name], terms[name], rtol=1e-5, atol=1e-6, msg=name)
    for gradient, gradient_2 in zip(gradients, gradients_2, strict=True):
        torch.testing.assert_close(gradient_2, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("summary", ["mean", "last"])
def test_two_threads_learn_what_one_does(batch, summary):
    """Of a training step, dropout on: the loss to the bit, gradients but for the order of their sums."""
    model, found = build(replace(SMALL, summary=summary)).train(), []
    for count in (1, 2):
        model.zero_grad()
        torch.manual_seed(0)
        with parallel.threads(count):
            total = model.losses(model(batch), batch.labels)["total"]
            total.backward()
        found.append((total.item(), [parameter.grad.clone() for parameter in model.parameters()]))
    (loss, gradients), (loss_2, gradients_2) = found
    assert loss == loss_2
    for gradient, gradient_2 in zip(gradients, gradients_2, strict=True):
        torch.testing.assert_close(gradient_2, gradient, rtol=1e-4, atol=1e-6)


def test_a_sample_does_not_depend_on_its_batch(batch):
    model = build(SMALL).eval()
    together = model(batch).prediction
    for i, length in enumerate(batch.lengths[0]):
        alone = Batch(batch.ids[i : i + 1], *(x[i : i + 1, :length] for x in (batch.text, batch.vision, batch.audio)),
                      batch.lengths[:, i : i + 1], batch.labels[i : i + 1])  # fmt: skip
        torch.testing.assert_close(model(alone).prediction[0], together[i], rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient(batch):
    model = build(SMALL)
    model.losses(model(batch), batch.labels)["total"].backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


def test_a_single_sample_of_one_word_can_be_trained_on():
    model = build(SMALL)
    sequences = (torch.randn(1, 1, width) for width in (6, 5, 4))
    one = Batch(("a",), *sequences, torch.ones(3, 1, dtype=torch.int64), torch.tensor([1.0]))
    total = model.losses(model(one), one.labels)["total"]
    total.backward()
    assert torch.isfinite(total)


def test_without_crossmodal_attention_a_modality_hears_only_itself(batch):
    """Changing the audio changes the heterogeneous logit of audio alone."""
    for crossmodal, expected in ((False, [False, False, True]), (True, [True, True, True])):
        model = build(replace(SMALL, crossmodal_attention=crossmodal)).eval()
        before = model(batch).hetero_logits
        after = model(replace(batch, audio=batch.audio * -1)).hetero_logits
        assert ((after - before).abs().amax(dim=1) > 1e-7).tolist() == expected


@pytest.mark.parametrize(
    "switch, terms",
    [
        ("homo_distillation", ["homo_logit", "homo_representation", "homo_regularisation"]),
        ("hetero_distillation", ["hetero_logit", "hetero_representation", "hetero_regularisation"]),
        ("feature_decoupling", ["reconstruction", "cycle", "orthogonality", "margin"]),
    ],
)
def test_an_ablation_takes_its_terms_out_of_the_loss(batch, switch, terms):
    """What is left over is the total without these terms, and both ways are trained to the same prediction path."""
    model = build(replace(SMALL, **{switch: False})).eval()
    losses = model.losses(model(batch), batch.labels)
    kept = {name: value for name, value in losses.items() if name not in terms}
    changed = {name: value + 1 for name, value in losses.items() if name in terms}
    torch.testing.assert_close(model._total({**kept, **changed}), losses["total"])


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"d": 30, "heads": 4}, "d = 30 is not a multiple of heads = 4"),
        ({"kernels": (3, 4, 3)}, "odd width"),
        ({"time_reduction": "flatten"}, "needs a fixed length"),
        ({"output_dropout": 1.0}, "probability"),
        ({"mask_padding": False, "kernels": (3, 1, 1), "lengths": (2, 50, 50)}, "wider than the sequences"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        DMDConfig(**settings)
