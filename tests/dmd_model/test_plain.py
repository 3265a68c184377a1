"""Two forms of DMD, written apart, are one function: the plain one of ``plain.py`` and the package's official preset.

The plain form is first held to the official numbers in tests/golden. Then it is the oracle where no official numbers
are: with random weights copied by names, both forms give the same outputs, loss terms and gradients on unaligned
lengths, padding at either end, equal labels, and modalities that are not projected.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dmd_model.batch import Batch
from dmd_model.config import DMDConfig
from dmd_model.dmd import DMD
from dmd_model.official import from_official_state_dict, official_parameters, official_unit_parameters
from tests.dmd_model.plain import PlainDMD, graph_units, margin_loss, plain_losses
from tests.dmd_model.test_official import LETTERS, assert_equal, outputs

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# kernels and lengths of text, vision, audio; the steps that are left in comments
SHAPES = {
    "mosi_aligned": ((5, 5, 5), (12, 12, 12)),
    "mosei_aligned": ((5, 3, 1), (12, 12, 12)),  # 8, 10, 12: every mask with more queries than keys hides some
    "unaligned": ((5, 5, 5), (10, 24, 17)),  # 6, 20, 13: vision sees all of text, but not all of audio
    "unaligned_mosei": ((5, 3, 1), (10, 24, 17)),  # 6, 22, 17
    "long_text": ((5, 3, 1), (30, 6, 9)),  # 26, 4, 9
    "one_step": ((5, 3, 3), (5, 10, 3)),  # 1, 8, 1
}
COLUMNS = (7, 5, 4)
EXACT = 1e-9  # of the largest value: both forms compute in float64 here


class Plain:
    """The plain form and its units, their outputs, losses and gradients."""

    def __init__(self, config: DMDConfig, columns: tuple[int, int, int]):
        self.model = PlainDMD(config, columns).eval()
        self.units = dict(zip(("homo", "hetero"), graph_units(config), strict=True))

    def run(self, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor) -> None:
        self.output = self.model(*inputs)
        self.losses = plain_losses(*self.units.values(), self.output, labels)
        self.losses["combined_loss"].backward()
        self.gradients = {
            f"{name}/{part}": parameter.grad
            for name, module in {"model": self.model, **self.units}.items()
            for part, parameter in module.named_parameters()
            if parameter.grad is not None
        }


def assert_all_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert_equal(actual[name], value.detach(), tolerance, name)


@pytest.mark.parametrize("name", ["official_mosi_aligned", "official_mosei_aligned"])
def test_the_plain_form_equals_the_official_numbers(name):
    file = np.load(GOLDEN / f"{name}.npz")
    settings = ast.literal_eval(str(file["config"]))
    arrays = {key: torch.as_tensor(file[key]) for key in file.files if key != "config"}

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

    text, audio, vision = settings["kernels_l_a_v"]
    config = DMDConfig.official(
        settings["dataset"], lengths=settings["lengths_l_v_a"], kernels=(text, vision, audio),
        **{size: settings[size] for size in ("d", "heads", "layers")},
    )  # fmt: skip
    plain = Plain(config, tuple(settings["dims"][letter] for letter in LETTERS))
    constants = (".version", ".embed_positions._float_tensor")
    plain.model.load_state_dict({key: v for key, v in under("model/").items() if not key.endswith(constants)})
    for unit, module in plain.units.items():
        module.load_state_dict(under(f"{unit}/"))
    plain.run(tuple(arrays[f"in/{modality}"] for modality in ("text", "vision", "audio")), arrays["in/labels"])
    assert_all_equal(plain.output, under("out/"), 1e-5)
    assert_all_equal(plain.losses, under("loss/"), 1e-5)
    assert_all_equal(plain.gradients, under("grad/"), 1e-4)


@pytest.fixture
def float64():
    """What differs is then the mathematics, not the rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_forms_equal(
    config: DMDConfig, columns: tuple[int, int, int], seed: int, side: str, labels: list[float]
) -> None:
    """Random weights and inputs, padded with zeros at ``side``; everything that both forms compute is equal."""
    torch.manual_seed(seed)
    plain, model = Plain(config, columns), DMD(config, columns).eval()
    with torch.no_grad():
        for module in (plain.model, *plain.units.values()):
            for parameter in module.parameters():  # norms and biases too
                parameter.add_(0.2 * torch.randn_like(parameter))
        from_official_state_dict(model, plain.model.state_dict())
        for space, unit in plain.units.items():
            for name, parameter in official_unit_parameters(getattr(model, f"{space}_unit")).items():
                parameter.copy_(unit.get_parameter(name))
    inputs = [torch.randn(len(labels), length, width) for length, width in zip(config.lengths, columns, strict=True)]
    lengths = torch.tensor(config.lengths)[:, None].repeat(1, len(labels))
    for m, x in enumerate(inputs):
        for sample, padding in enumerate(torch.randint(0, x.shape[1], (len(labels),)).tolist()):
            if side == "right":
                x[sample, x.shape[1] - padding :] = 0
                lengths[m, sample] -= padding
            elif side == "left":
                x[sample, :padding] = 0
    labels = torch.tensor(labels)
    plain.run(inputs, labels)
    output = model(Batch(("",) * len(labels), *inputs, lengths, labels))
    losses = model.losses(output, labels)
    losses["total"].backward()

    used = {name: value for name, value in plain.output.items() if not name.startswith("proj_s_")}
    assert_all_equal(outputs(SimpleNamespace(model=model, output=output)), used, EXACT)
    assert_all_equal(official_losses(model, output, losses), official_terms(plain.losses), EXACT)
    gradients = {
        f"model/{name}": take(parameter.grad) for name, (parameter, take) in official_parameters(model).items()
    }
    for space in plain.units:
        for name, parameter in official_unit_parameters(getattr(model, f"{space}_unit")).items():
            gradients[f"{space}/{name}"] = parameter.grad
    assert_all_equal(gradients, plain.gradients, EXACT)


def official_losses(model: DMD, output: object, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the package's model tells of its losses, by official names."""
    named = {
        "loss_task_all": losses["task"], "auxiliary": losses["auxiliary"], "loss_recon": losses["reconstruction"],
        "loss_s_sr": losses["cycle"], "loss_ort": losses["orthogonality"], "loss_sim": losses["margin"],
        "combined_loss": losses["total"],
    }  # fmt: skip
    for space, unit in zip(("homo", "hetero"), model.units(output), strict=True):
        named |= {f"loss_reg_{space}": unit.regularisation, f"loss_logit_{space}": unit.logit,
                  f"loss_repr_{space}": 10 * unit.representation, f"edges_{space}": unit.edges}  # fmt: skip
    return named


def official_terms(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The plain form's terms; its sums are told apart as the package tells them."""
    sums = {"loss_task", "loss_task_c", "graph_distill_loss_homo", "graph_distill_loss_hetero"}
    terms = {name: value for name, value in losses.items() if name not in sums}
    return terms | {"auxiliary": losses["loss_task"] - losses["loss_task_all"]}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("side", ["none", "right", "left"])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_forms_are_equal(shape, side):
    kernels, lengths = SHAPES[shape]
    config = DMDConfig.official("mosei", d=8, heads=2, layers=2, kernels=kernels, lengths=lengths)
    for seed in range(2):
        assert_forms_equal(config, COLUMNS, seed, side, [1.2, -0.4, 1.2, 2.6, 0.0])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "labels", [[0.5], [1.0, 1.0, 1.0], [-3.0, 3.0], [0.0, -0.0, 0.2]], ids=["one_sample", "equal", "two", "zeros"]
)
def test_both_forms_are_equal_on_any_labels(labels):
    """One sample, and labels that are all equal, have no triplet: the margin loss is 0 then."""
    config = DMDConfig.official(d=8, heads=4, layers=1, lengths=(10, 24, 17))
    assert_forms_equal(config, COLUMNS, 7, "right", labels)


@pytest.mark.usefixtures("float64")
def test_both_forms_are_equal_without_a_projection():
    """A modality that already has d columns is not projected, and its projection has no gradient."""
    config = DMDConfig.official(d=6, heads=3, layers=2, kernels=(1, 3, 1), lengths=(6, 9, 7))
    assert_forms_equal(config, (6, 5, 6), 3, "right", [1.0, -1.0, 2.0])


@pytest.mark.usefixtures("float64")
def test_the_margin_loss_is_that_of_a_loop_over_anchors():
    torch.manual_seed(0)
    vectors, labels = torch.randn(3, 5, 4), torch.tensor([1.2, -0.4, 1.2, 2.6, 0.0])
    flat = [(vectors[m, b], float(labels[b])) for b in range(5) for m in range(3)]

    def similar(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x @ y) / ((x @ x + 1e-8).sqrt() * (y @ y + 1e-8).sqrt())

    anchors = []
    for i, (x, label) in enumerate(flat):
        positives = [y for j, (y, other) in enumerate(flat) if other == label and j != i]
        negatives = [(y, 0.15 * abs(label - other)) for y, other in flat if other != label]
        hinges = [
            torch.relu(margin - similar(x, positive) + similar(x, negative))
            for positive in positives
            for negative, margin in negatives
        ]
        anchors.append(torch.stack(hinges).mean())
    torch.testing.assert_close(margin_loss(vectors, labels), torch.stack(anchors).mean())
