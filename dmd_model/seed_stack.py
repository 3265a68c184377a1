"""Trainings of one model whose weights lie stacked over seeds, so that a GPU does their steps as one.

A step of a small model costs a GPU what its thousand launches cost, and products of five seeds are as many launches as
those of one. So the step is mapped over the stack, and is a CUDA graph. Each seed has its own random numbers, optimiser
and place in its epoch; it is as if it were alone in a stack of that size.

Shapes: S seeds of the stack, B batch, N random numbers of a step.
"""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dmd_model.batch import Batch, DeviceSamples
from dmd_model.config import Training
from dmd_model.cuda_graph import capture, put
from dmd_model.dropout import Numbers, drawn_from
from dmd_model.model import Model


class SeedStack:
    """Up to ``size`` members at a time, which are alike but for the seed, of a model that never waits.

    Each member asks for a step of its own; all that were asked for are done when the first looks at its result. Places
    that nobody has are worked out, too, and mean nothing.
    """

    def __init__(self, size: int):
        self.size, self.free = size, list(range(size))
        self.members: list[Member] = []
        self.weights: dict[str, Tensor] = {}  # [S, ...] each; with their gradients
        self.inputs: dict[int, tuple[Tensor, Tensor]] = {}  # by batch size: samples int64 [S, B], shares [S]
        self.steps: dict[int, tuple[torch.cuda.CUDAGraph, tuple[dict[str, Tensor], Tensor]]] = {}  # by batch size
        self.asking: list[Member] = []  # whose steps are to be done

    def join(self, model: Model, data: DeviceSamples, training: Training) -> Member:
        """From now on the parameters of ``model`` lie in the stack, and so do their gradients, which are zero.

        Those that the losses do not depend on stay where they are, without a gradient.
        """
        if not self.weights:
            self._found(model, data, training)
        member = Member(self, self.free.pop(0))
        self.accelerator.synchronize()
        for name, parameter in model.named_parameters():
            if name in self.weights:
                place, gradient = self.weights[name].data[member.place], self.weights[name].grad[member.place]
                place.copy_(parameter.data)
                parameter.data, parameter.grad = place, gradient.zero_()
        self.members.append(member)
        return member

    def _found(self, model: Model, data: DeviceSamples, training: Training) -> None:
        """Make place for members like this one; what a step draws and depends on, it is asked once."""
        self.data, self.training, self.device = data, training, data.labels.device
        self.accelerator = torch.get_device_module(self.device)
        self.stream = self.accelerator.Stream()
        self.losses = _Losses(copy.deepcopy(model).train(), training)
        first = torch.arange(min(training.batch_size, len(data)), device=self.device)
        drawn = Numbers(None)
        batch = data.gather(first, data.limits)
        total = self.losses(drawn, *batch.sequences, batch.lengths, batch.labels)["total"]
        gradients = torch.autograd.grad(total, list(self.losses.parameters()), allow_unused=True)
        self.numbers = torch.zeros(self.size, drawn.given, device=self.device)  # [S, N]
        for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
            if gradient is not None:
                stacked = parameter.detach().expand(self.size, *parameter.shape).clone().requires_grad_()
                stacked.grad = torch.zeros_like(stacked)
                self.weights[name] = stacked

    def inputs_of(self, size: int) -> tuple[Tensor, Tensor]:
        """Where the samples of a batch of that size are put, and the share of its gradient; its step is captured."""
        if size not in self.inputs:
            chosen = torch.arange(size, device=self.device).repeat(self.size, 1)  # [S, B]
            shares = torch.zeros(self.size, device=self.device)
            self.inputs[size] = chosen, shares
            self.accelerator.synchronize()
            with self.accelerator.stream(self.stream):
                self.steps[size] = capture(partial(self.step, chosen, shares))
            self.accelerator.synchronize()
        return self.inputs[size]

    def step(self, chosen: Tensor, shares: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Add ``shares`` [S] of the gradients of the losses of the samples ``chosen``, int64 [S, B].

        Gives the terms of the losses, [S, ...], and whether total and gradients are finite, [S].
        """
        data, weights = self.data, list(self.weights.values())
        batch = data.gather(chosen.flatten(), data.limits)
        inputs = (
            *(x.unflatten(0, chosen.shape) for x in batch.sequences),  # [S, B, T_m, D_m]
            batch.lengths.unflatten(1, chosen.shape).transpose(0, 1),  # [S, 3, B]
            batch.labels.unflatten(0, chosen.shape),
        )
        terms = vmap(self._losses_of_one)(self.weights, self.numbers, *inputs)
        gradients = torch.autograd.grad((terms["total"] * shares).sum(), weights)
        torch._foreach_add_([weight.grad for weight in weights], gradients)
        nn.utils.clip_grad_value_(weights, self.training.clip_value)
        sums = torch.cat([weight.grad.flatten(1) for weight in weights], dim=1).sum(dim=1)  # of clipped ones: no inf
        return {name: term.detach() for name, term in terms.items()}, torch.isfinite(sums + terms["total"].detach())

    def _losses_of_one(self, weights: dict[str, Tensor], numbers: Tensor, *inputs: Tensor) -> dict[str, Tensor]:
        named = {f"model.{name}": weight for name, weight in weights.items()}
        return functional_call(self.losses, named, (Numbers(numbers), *inputs))

    def do_what_was_asked(self) -> None:
        """The steps of all members that asked: one for each size of their batches."""
        for member in self.members:
            self.stream.wait_stream(member.stream)
        with self.accelerator.stream(self.stream):
            for size in {member.size for member in self.asking}:
                self.steps[size][0].replay()
                self.inputs[size][1].zero_()
        self.asking.clear()


class Member:
    """A place of the stack. What belongs to it is done on the stream that is current when it joins."""

    def __init__(self, stack: SeedStack, place: int):
        self.stack, self.place, self.stream = stack, place, stack.accelerator.current_stream()
        self.size = 0  # of its batch

    def begin(self, indices: np.ndarray, divisor: int) -> None:
        """Ask for a step with the samples ``indices`` [B]; gradients are divided by ``divisor`` and added up."""
        self.size = len(indices)
        chosen, shares = self.stack.inputs_of(self.size)
        self.stream.wait_stream(self.stack.stream)  # a step of others reads what is written here
        put(indices, chosen[self.place])
        shares[self.place].fill_(1 / divisor)
        self.stack.numbers[self.place].uniform_()
        self.stack.asking.append(self)

    def end(self) -> tuple[dict[str, Tensor], Tensor]:
        """Terms of the loss, and whether they and the gradients are finite; the next step overwrites them."""
        if self in self.stack.asking:
            self.stack.do_what_was_asked()
        self.stream.wait_stream(self.stack.stream)
        _, (terms, finite) = self.stack.steps[self.size]
        return {name: term[self.place] for name, term in terms.items()}, finite[self.place]

    def leave(self) -> None:
        """Make place for another."""
        self.stack.members.remove(self)
        self.stack.free.append(self.place)


class _Losses(nn.Module):
    """The terms of the loss of a batch as a function of weights, random numbers and tensors."""

    def __init__(self, model: Model, training: Training):
        super().__init__()
        self.model, self.training_settings = model, training

    def forward(self, numbers: Numbers, *batch: Tensor) -> dict[str, Tensor]:
        batch = Batch((), *batch)
        with drawn_from(numbers), torch.autocast(batch.labels.device.type, torch.bfloat16,
                                              enabled=self.training_settings.mixed_precision):  # fmt: skip
            return self.model.losses(self.model(batch), batch.labels)
