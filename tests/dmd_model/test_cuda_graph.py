"""Steps as CUDA graphs: which models can have them, and that a replayed step is the step itself."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dmd_model.cuda_graph import GraphedStep
from dmd_model.fit import fit, fit_in_turns, read_result
from dmd_model.prediction import place
from dmd_model.registry import MODELS, configure, model_class
from tests.dmd_model.made_up import WIDTHS

NEVER_WAIT = [name for name in (*MODELS, "dmd@official-mosi") if model_class(name).never_waits]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Waiting(TorchDispatchMode):
    """Counts what a GPU would have to be waited for: values that Python looks at, indices it brings, unknown shapes."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        by_mask = name.startswith("aten.index.") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if by_mask or any(part in name for part in ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select")):
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


def losses(name: str, samples, device: torch.device):
    torch.manual_seed(0)
    model = model_class(name)(configure(name)[0], tuple(WIDTHS.values())).to(device)
    data = place(samples, model, device)
    return model, lambda indices: model.losses(*_output_and_labels(model, data.gather(indices, data.limits)))


def _output_and_labels(model, batch):
    return model(batch), batch.labels


@pytest.mark.parametrize("name", NEVER_WAIT)
def test_a_model_that_says_so_never_waits_for_values(name, make_samples, monkeypatch):
    monkeypatch.setattr("dmd_model.kernels.serve", lambda _: False)  # as on a GPU
    model, step = losses(name, make_samples(8), torch.device("cpu"))
    indices = torch.arange(8)
    with Waiting() as waiting:
        step(indices)["total"].backward()
    assert not waiting.found
    with Waiting() as waiting:
        model(place(make_samples(8), model, torch.device("cpu")).batch(np.arange(8))).prediction[
            torch.ones(8) > 0
        ].sum().item()
    assert waiting.found


@gpu
@pytest.mark.parametrize("name", NEVER_WAIT)
def test_a_replayed_step_adds_the_gradients_of_the_step(name, make_samples):
    model, step = losses(name, make_samples(24), torch.device("cuda"))
    model.eval()  # no dropout
    parameters = list(model.parameters())

    def backward(indices, divisor):
        terms = step(indices)
        (terms["total"] / divisor).backward()
        return terms, torch.isfinite(terms["total"])

    batches = [np.arange(0, 16), np.arange(16, 24), np.arange(4, 20)]
    for indices in batches:
        backward(torch.from_numpy(indices).cuda(), 2)
    expected = [None if p.grad is None else p.grad.clone() for p in parameters]
    model.zero_grad()
    with torch.cuda.stream(torch.cuda.Stream()):
        replay = GraphedStep(backward, parameters)
        for indices in batches:
            _, finite = replay(indices, 2)
            assert finite
        torch.cuda.synchronize()
    for parameter, gradient in zip(parameters, expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max() + 1))


@gpu
def test_replays_draw_new_random_numbers_and_capture_none(make_samples):
    drop = nn.Linear(8, 8).cuda()

    def step(indices, divisor):
        return {"kept": torch.rand(4, device="cuda")}, torch.ones((), dtype=torch.bool, device="cuda")

    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda.manual_seed(3)
        expected = torch.rand(4, device="cuda"), torch.rand(4, device="cuda")
        torch.cuda.manual_seed(3)
        replay = GraphedStep(step, list(drop.parameters()))
        found = [replay(np.arange(2), 1)[0]["kept"].clone() for _ in range(2)]
    torch.cuda.synchronize()
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@gpu
@pytest.mark.parametrize("name", ["dmd", "lf-lstm"])
def test_trainings_that_share_a_gpu_end_as_if_each_were_alone(name, splits, tmp_path):
    def turns(seed: int, folder: str):
        return fit_in_turns(name, splits, seed=seed, folder=tmp_path / folder, overrides={"max_epochs": 3},
                            text_encoder=None, device="cuda", on_epoch=None)  # fmt: skip

    for _ in turns(7, "alone"):
        pass
    for _ in zip_longest(turns(8, "other"), turns(7, "one"), turns(9, "third")):
        pass
    alone, one, other = (read_result(tmp_path / folder) for folder in ("alone", "one", "other"))
    assert [epoch["train"] for epoch in one.history] == [epoch["train"] for epoch in alone.history]
    assert one.metrics == alone.metrics != other.metrics


@gpu
def test_a_training_that_was_broken_off_on_a_gpu_goes_on(splits, tmp_path, monkeypatch):
    monkeypatch.setattr("dmd_model.fit._SAVING_SHARE", float("inf"))
    settings = {"seed": 7, "overrides": {"max_epochs": 4, "accumulate": 2}, "device": "cuda"}
    unbroken = fit("dmd", splits, folder=tmp_path / "unbroken", **settings)

    def stop(record) -> None:
        if record["epoch"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit("dmd", splits, folder=tmp_path / "run", on_epoch=stop, **settings)
    resumed = fit("dmd", splits, folder=tmp_path / "run", **settings)
    assert [epoch["train"] for epoch in resumed.history] == [epoch["train"] for epoch in unbroken.history]
    assert resumed.metrics == unbroken.metrics
