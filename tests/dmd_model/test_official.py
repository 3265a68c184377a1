"""The official preset computes what the official code computes: its numbers are in tests/golden."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from dmd_model.batch import Batch
from dmd_model.config import DMDConfig
from dmd_model.dmd import DMD
from dmd_model.official import from_official_state_dict, load_official, official_parameters, official_unit_parameters

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LETTERS = "lva"


class Golden:
    """One golden file, the model with its weights, and the gradients of the total loss."""

    def __init__(self, path: Path):
        self.arrays = {name: torch.as_tensor(value) for name, value in np.load(path).items() if value.dtype.kind == "f"}
        self.settings = ast.literal_eval(str(np.load(path)["config"]))
        kernels, lengths, dims = (self.settings[key] for key in ("kernels_l_a_v", "lengths_l_v_a", "dims"))
        config = DMDConfig.official(
            self.settings["dataset"], lengths=lengths, kernels=(kernels[0], kernels[2], kernels[1]),
            **{size: self.settings[size] for size in ("d", "heads", "layers")},
        )  # fmt: skip
        self.model = DMD(config, (dims["l"], dims["v"], dims["a"])).eval()
        from_official_state_dict(self.model, self.under("model/"))
        with torch.no_grad():
            for name in ("homo", "hetero"):
                for part, parameter in official_unit_parameters(getattr(self.model, f"{name}_unit")).items():
                    parameter.copy_(self.arrays[f"{name}/{part}"])
        labels = self.arrays["in/labels"]
        lengths = torch.tensor(lengths)[:, None].expand(3, len(labels))
        self.batch = Batch(("",) * len(labels), *(self.arrays[f"in/{m}"] for m in ("text", "vision", "audio")), lengths,
                           labels)  # fmt: skip
        self.output = self.model(self.batch)
        self.losses = self.model.losses(self.output, labels)
        self.losses["total"].backward()

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.arrays.items() if name.startswith(prefix)}


@pytest.fixture(scope="module", params=["official_mosi_aligned", "official_mosei_aligned"])
def golden(request) -> Golden:
    return Golden(GOLDEN / f"{request.param}.npz")


def assert_equal(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, name: str) -> None:
    """The largest difference, relative to the largest value of the expected tensor."""
    actual = actual.detach()
    assert actual.shape == expected.shape, name
    scale = float(expected.abs().max())
    worst = float((actual - expected).abs().max())
    assert worst <= tolerance * max(scale, 1e-3), f"{name}: differs by {worst:.2e} of {scale:.2e}"


def outputs(golden: Golden) -> dict[str, torch.Tensor]:
    out, parts = golden.output, golden.output.sequences
    named = {"output_logit": out.prediction[:, None], "logits_c": out.common_logit[:, None]}
    for m, (letter, steps) in enumerate(zip(LETTERS, golden.model.decoupling.steps(), strict=True)):
        named |= {
            f"origin_{letter}": parts.projected[m, :, :steps].transpose(1, 2),
            f"s_{letter}": parts.specific[m, :, :steps].transpose(0, 1),
            f"c_{letter}": parts.common[m, :, :steps].transpose(0, 1),
            f"recon_{letter}": parts.reconstructed[m, :, :steps].transpose(1, 2),
            f"s_{letter}_r": parts.specific_again[m, :, :steps].transpose(1, 2),
            f"c_{letter}_sim": out.margin_vectors[m],
            f"logits_{letter}_homo": out.homo_logits[m, :, None],
            f"repr_{letter}_homo": out.homo_representations[m],
            f"logits_{letter}_hetero": out.hetero_logits[m, :, None],
            f"repr_{letter}_hetero": out.hetero_representations[m],
            f"last_h_{letter}": out.memory[m],
        }
    return named


def test_every_output_equals_the_official_one(golden):
    """All tensors of the backbone; proj_s_* is left out: nothing uses it, and it is not computed here."""
    named = outputs(golden)
    expected = {name: value for name, value in golden.under("out/").items() if not name.startswith("proj_s_")}
    assert set(named) == set(expected)
    for name, value in expected.items():
        assert_equal(named[name], value, 1e-5, name)


def test_every_loss_term_equals_the_official_one(golden):
    losses = golden.losses
    named = {
        "loss_task": losses["task"] + losses["auxiliary"],
        "loss_task_all": losses["task"],
        "loss_task_c": (golden.output.common_logit - golden.batch.labels).abs().mean(),
        "loss_recon": losses["reconstruction"],
        "loss_s_sr": losses["cycle"],
        "loss_ort": losses["orthogonality"],
        "loss_sim": losses["margin"],
        "combined_loss": losses["total"],
        "graph_distill_loss_homo": 0.05 * (losses["homo_logit"] + losses["homo_regularisation"]),
        "graph_distill_loss_hetero": 0.05
        * (losses["hetero_logit"] + 10 * losses["hetero_representation"] + losses["hetero_regularisation"]),
    }
    for space, unit in zip(("homo", "hetero"), golden.model.units(golden.output), strict=True):
        named |= {f"loss_reg_{space}": unit.regularisation, f"loss_logit_{space}": unit.logit,
                  f"loss_repr_{space}": 10 * unit.representation, f"edges_{space}": unit.edges}  # fmt: skip
    expected = golden.under("loss/")
    assert set(named) == set(expected)
    for name, value in expected.items():
        assert_equal(named[name], value, 1e-5, name)


def test_every_gradient_equals_the_official_one(golden):
    """By name: what the official backward pass gives a gradient gets the same one, and nothing else gets any."""
    expected = golden.under("grad/")
    named = {}
    for name, (parameter, take) in official_parameters(golden.model).items():
        named[f"model/{name}"] = take(parameter.grad)
    for space in ("homo", "hetero"):
        for name, parameter in official_unit_parameters(getattr(golden.model, f"{space}_unit")).items():
            named[f"{space}/{name}"] = parameter.grad
    assert set(named) == set(expected)
    for name, value in expected.items():
        assert_equal(named[name], value, 1e-4, name)


def test_an_official_file_is_loaded_by_names(golden, tmp_path):
    state = golden.under("model/")
    torch.save(state, tmp_path / "dmd.pth")
    fresh = DMD(golden.model.config, tuple(golden.settings["dims"][letter] for letter in LETTERS)).eval()
    load_official(fresh, tmp_path / "dmd.pth")
    torch.testing.assert_close(fresh(golden.batch).prediction, golden.output.prediction)


def test_a_checkpoint_of_another_shape_is_refused_and_changes_nothing(golden):
    state = golden.under("model/")
    before = [parameter.detach().clone() for parameter in golden.model.parameters()]
    for change, sentence in (
        (lambda s: s.pop("proj1.weight"), r"1 tensors are missing, \['proj1.weight'\]"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unknown tensors, \['extra'\]"),
        (lambda s: s.update({"encoder_c.weight": torch.zeros(3, 3, 1)}), r"encoder_c.weight has shape \(3, 3, 1\)"),
    ):
        broken = dict(state)
        change(broken)
        with pytest.raises(ValueError, match=sentence):
            from_official_state_dict(golden.model, broken)
    assert all(torch.equal(a, b) for a, b in zip(before, golden.model.parameters(), strict=True))


def test_a_pth_with_code_in_it_is_refused(golden, tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    torch.save({"proj1.weight": Hostile()}, tmp_path / "dmd.pth")
    with pytest.raises(pickle.UnpicklingError):
        load_official(golden.model, tmp_path / "dmd.pth")
    assert not (tmp_path / "canary").exists()
