"""Steps as CUDA graphs: which models can have them, and that a replayed step is the step itself."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dmd_model.dropout import Numbers, drawn_from
from dmd_model.fit import fit, fit_in_turns, read_result
from dmd_model.learner import Steps
from dmd_model.prediction import place
from dmd_model.registry import MODELS, configure, model_class
from dmd_model.seed_stack import SeedStack
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


def made(name: str, samples, device: torch.device):
    torch.manual_seed(0)
    model = model_class(name)(configure(name)[0], tuple(WIDTHS.values())).to(device).train()
    return model, place(samples, model, device)


@pytest.mark.parametrize("name", NEVER_WAIT)
def test_a_model_that_says_so_never_waits_for_values(name, make_samples, monkeypatch):
    monkeypatch.setattr("dmd_model.kernels.serve", lambda _: False)  # as on a GPU
    model, data = made(name, make_samples(8), torch.device("cpu"))
    stack = SeedStack(2)
    stack.join(model, data, configure(name)[1])
    chosen, shares = torch.arange(8).repeat(2, 1), torch.ones(2)
    with Waiting() as waiting:
        stack.step(chosen, shares)
    assert not waiting.found
    with Waiting() as waiting:
        model(place(make_samples(8), model, torch.device("cpu")).batch(np.arange(8))).prediction[
            torch.ones(8) > 0
        ].sum().item()
    assert waiting.found


@gpu
@pytest.mark.parametrize("name", NEVER_WAIT)
def test_replayed_steps_add_the_gradients_of_the_steps(name, make_samples):
    """Dropout included, of batches of two sizes, one after the other without a look at the results."""
    samples, device = make_samples(24), torch.device("cuda")
    (model, data), (alone, _) = (made(name, samples, device) for _ in range(2))
    data.longest, data.fixed = data.limits, True  # as the stack pads: random numbers are for padding, too
    training = configure(name)[1]
    steps, batches = Steps(alone, data, training), [np.arange(0, 16), np.arange(16, 24), np.arange(4, 20)]
    with torch.cuda.stream(torch.cuda.Stream()):
        stack = SeedStack(2)
        member, drawn, finite = stack.join(model, data, training), [], []
        for batch in batches:
            member.begin(batch, 2)
            drawn.append(stack.numbers[0].clone())
            finite.append(member.end()[1].clone())
        torch.cuda.synchronize()
    for batch, numbers in zip(batches, drawn, strict=True):
        with drawn_from(Numbers(numbers)):
            steps.begin(batch, 2)
    assert all(finite) and not torch.equal(drawn[0], drawn[1])
    for (name, parameter), expected in zip(model.named_parameters(), alone.parameters(), strict=True):
        if expected.grad is not None:
            largest = float(expected.grad.abs().max())
            assert float((parameter.grad - expected.grad).abs().max()) < 2e-3 * largest + 1e-7, name


@gpu
def test_seeds_of_a_stack_end_as_if_the_others_were_not_there(splits, tmp_path):
    def turns(seed: int, folder: str, stack: SeedStack):
        return fit_in_turns("dmd", splits, seed=seed, folder=tmp_path / folder, overrides={"max_epochs": 3},
                            text_encoder=None, device="cuda", on_epoch=None, stack=stack)  # fmt: skip

    alone, shared = SeedStack(3), SeedStack(3)
    for _ in turns(7, "alone", alone):
        pass
    for _ in zip_longest(*(turns(seed, f"shared {seed}", shared) for seed in (8, 7, 9))):
        pass
    alone, shared, other = (read_result(tmp_path / folder) for folder in ("alone", "shared 7", "shared 8"))
    assert [epoch["train"] for epoch in shared.history] == [epoch["train"] for epoch in alone.history]
    assert shared.metrics == alone.metrics != other.metrics


@gpu
@pytest.mark.parametrize("name", ["dmd", "lf-lstm"])
def test_trainings_that_share_a_gpu_end_as_if_each_were_alone(name, splits, tmp_path):
    def turns(seed: int, folder: str):
        return fit_in_turns(name, splits, seed=seed, folder=tmp_path / folder, overrides={"max_epochs": 3},
                            text_encoder=None, device="cuda", on_epoch=None, stack=SeedStack(1))  # fmt: skip

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
