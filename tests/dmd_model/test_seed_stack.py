"""Seeds of a stack: each gets the gradients of its own batch, and nothing of the others reaches it.

Without a GPU a step is called where it would be replayed; all else is as there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmd_model.dropout import Numbers, drawn_from, dropout, relu_dropout
from dmd_model.learner import Steps
from dmd_model.prediction import place
from dmd_model.registry import MODELS, configure, model_class
from dmd_model.seed_stack import SeedStack
from tests.dmd_model.made_up import WIDTHS

NEVER_WAIT = [name for name in (*MODELS, "dmd@official-mosi") if model_class(name).never_waits]
CPU = torch.device("cpu")


class Called:
    """Stands for a graph: what was captured is called again, and its results overwritten."""

    def __init__(self, function):
        self.function, (self.terms, self.finite) = function, function()

    def replay(self) -> None:
        terms, finite = self.function()
        for name, value in terms.items():
            self.terms[name].copy_(value)
        self.finite.copy_(finite)


@pytest.fixture(autouse=True)
def _called_not_replayed(monkeypatch):
    def capture(function):
        called = Called(function)
        return called, (called.terms, called.finite)

    monkeypatch.setattr("dmd_model.seed_stack.capture", capture)
    monkeypatch.setattr("dmd_model.seed_stack.put", lambda numbers, there: there.copy_(torch.from_numpy(numbers)))
    monkeypatch.setattr("dmd_model.kernels.serve", lambda _: False)  # formulas, as on a GPU


def made(name: str, seed: int, samples):
    torch.manual_seed(seed)
    config, training = configure(name)
    model = model_class(name)(config, tuple(WIDTHS.values())).train().double()
    data = place(samples, model, CPU)
    data.values, data.labels = [values.double() for values in data.values], data.labels.double()
    data.longest, data.fixed = data.limits, True  # as the stack pads: random numbers are for padding, too
    return model, data, training


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(model, other) -> None:
    found, expected = gradients(model), gradients(other)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-6 * float(gradient.abs().max()) + 1e-12)


@pytest.mark.parametrize("name", NEVER_WAIT)
def test_each_member_gets_the_gradients_of_its_own_step(name, make_samples):
    """Dropout included: the model alone drops by the same numbers."""
    samples = make_samples(40)
    own = [made(name, seed, samples) for seed in range(3)]
    stack = SeedStack(3)
    stacked = [made(name, seed, samples) for seed in range(3)]
    members = [stack.join(*parts) for parts in stacked]
    batches = [np.arange(first, first + 16) for first in (0, 7, 20)]
    for _ in range(2):  # gradients add up
        for member, batch in zip(members, batches, strict=True):
            member.begin(batch, 2)
        for number, ((model, data, training), member) in enumerate(zip(own, members, strict=True)):
            terms, finite = member.end()
            alone = Steps(model, data, training)
            with drawn_from(Numbers(stack.numbers[number])):
                alone.begin(batches[number], 2)
            expected, _ = alone.end()
            assert finite
            for term, value in expected.items():
                torch.testing.assert_close(terms[term], value, rtol=1e-7, atol=1e-9)
    for (model, *_), (alone, *_) in zip(stacked, own, strict=True):
        assert_same_gradients(model, alone)
    assert not torch.equal(next(iter(gradients(stacked[0][0]).values())), next(iter(gradients(stacked[1][0]).values())))


def test_members_with_batches_of_unlike_size_do_not_disturb_each_other(make_samples):
    samples, stack = make_samples(40), SeedStack(2)
    parts = [made("dmd", seed, samples) for seed in range(2)]
    members = [stack.join(*part) for part in parts]
    for member, batch in zip(members, (np.arange(16), np.arange(16, 21)), strict=True):
        member.begin(batch, 1)
    totals = [member.end()[0]["total"].clone() for member in members]
    for (seed, member), batch in zip(enumerate(members), (np.arange(16), np.arange(16, 21)), strict=True):
        model, data, training = made("dmd", seed, samples)
        alone = Steps(model, data, training)
        with drawn_from(Numbers(stack.numbers[member.place])):
            alone.begin(batch, 1)
        torch.testing.assert_close(totals[seed], alone.end()[0]["total"], rtol=1e-7, atol=1e-9)
        assert_same_gradients(parts[seed][0], model)


def test_who_does_not_ask_keeps_weights_and_gradients_and_places_are_used_again(make_samples):
    samples, stack = make_samples(40), SeedStack(2)
    first, second = (made("dmd", seed, samples) for seed in range(2))
    idle, busy = stack.join(*first), stack.join(*second)
    idle.begin(np.arange(16), 1)
    idle.end()
    before, weights = gradients(first[0]), {name: value.clone() for name, value in first[0].state_dict().items()}
    for _ in range(2):
        busy.begin(np.arange(16), 1)
        busy.end()
    assert all(torch.equal(before[name], gradient) for name, gradient in gradients(first[0]).items())
    assert all(torch.equal(weights[name], value) for name, value in first[0].state_dict().items())
    idle.leave()
    third = made("dmd", 3, samples)
    came = stack.join(*third)
    assert came.place == idle.place
    assert all(not gradient.any() for gradient in gradients(third[0]).values())


def test_what_is_not_finite_is_said_of_its_member_alone(make_samples):
    samples, stack = make_samples(40), SeedStack(2)
    parts = [made("dmd", seed, samples) for seed in range(2)]
    members = [stack.join(*part) for part in parts]
    with torch.no_grad():
        next(parts[1][0].parameters()).fill_(float("nan"))
    for member in members:
        member.begin(np.arange(16), 1)
    assert [bool(member.end()[1]) for member in members] == [True, False]


def test_parameters_that_the_losses_do_not_depend_on_stay_where_they_are(make_samples):
    config, training = configure("dmd")
    config = replace(config, homo_distillation=False)
    torch.manual_seed(0)
    samples = make_samples(20)
    model = model_class("dmd")(config, tuple(WIDTHS.values()))
    unused = {name: p.data_ptr() for name, p in model.named_parameters() if name.startswith("homo_unit.")}
    member = SeedStack(1).join(model, place(samples, model, CPU), training)
    member.begin(np.arange(16), 1)
    member.end()
    left = {name for name, p in model.named_parameters() if p.grad is None}
    assert left and all(model.get_parameter(name).data_ptr() == unused[name] for name in left & unused.keys())


def test_what_numbers_are_too_small_is_dropped():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with drawn_from(Numbers(torch.tensor([0.1, 0.5, 0.25, 0.9, 0.3, 0.2, 0.8, 0.0]))):
        assert dropout(x, 0.25, True).tolist() == pytest.approx([0, 2 / 0.75, 3 / 0.75, 4 / 0.75])
        assert relu_dropout(-x, 0.25, True).tolist() == [0, 0, 0, 0]
        with pytest.raises(RuntimeError):
            dropout(x, 0.25, True)  # there are no more
