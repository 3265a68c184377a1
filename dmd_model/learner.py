"""What learns in a training: a model, its optimiser, and the running average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dmd_model.batch import DeviceSamples
from dmd_model.config import Training
from dmd_model.cuda_graph import GraphedPrediction, GraphedUpdate
from dmd_model.model import Model
from dmd_model.prediction import placed_batches, predict_batches
from dmd_model.seed_stack import SeedStack
from dmd_model.text_encoder import FineTuned


class Learner:
    """Gradients of batches are added up by ``steps``, until ``update`` takes a step of the optimiser.

    On a GPU both are CUDA graphs, if the model never waits; steps are then done with those of the other seeds of a
    stack. ``average`` is what is validated and kept.
    """

    def __init__(
        self,
        model: Model,
        train: DeviceSamples,
        valid: DeviceSamples,
        training: Training,
        device: torch.device,
        stack: SeedStack,
    ):
        self.model, self.training, self.device = model, training, device
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.parameters = list(model.parameters())
        self.graphed = device.type == "cuda" and model.never_waits
        if self.graphed:
            self.steps = stack.join(model, train, training)
            self.update, self.predictions = GraphedUpdate(self._update), GraphedPrediction(self.average, valid)
        else:
            self.steps, self.update = Steps(model, train, training), self._update
            self.predictions = partial(predict_batches, self.average, valid, *placed_batches(valid))
        self.optimiser = torch.optim.Adam(
            self._parameter_groups(), weight_decay=training.weight_decay, fused=True, capturable=self.graphed
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=training.plateau_factor, patience=training.plateau_patience
        )

    def predict_valid(self) -> Tensor:
        """What the average gives of the valid split, [N] or [N, E]; a GPU is not waited for.

        With the statistics that batch norms of the model have now.
        """
        for ours, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)
        return self.predictions()

    def forget_gradients(self) -> None:
        self.optimiser.zero_grad(set_to_none=not self.graphed)

    def not_finite(self, terms: Mapping[str, Tensor]) -> list[str]:
        """Names of the terms of a loss or, if its total is finite, of the gradients, that are not.

        A gradient that an update has used up already has left the parameter like that.
        """
        if not torch.isfinite(terms["total"]):
            return _not_finite(terms)
        parameters = dict(self.model.named_parameters())
        gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        return [f"the gradient of {name}" for name in _not_finite(parameters) or _not_finite(gradients)]

    @property
    def learning_rates(self) -> list[float]:
        """Of the model and, if there is one, of the text encoder."""
        return [float(group["lr"]) for group in self.optimiser.param_groups]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Between two updates: tensors by name, and what goes into JSON."""
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{key}": value for key, value in moments.items()}
        schedule = self.schedule.state_dict() | {"_last_lr": self.learning_rates}  # on a GPU they would be tensors
        return tensors, {"schedule": schedule, "learning_rates": self.learning_rates}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go back to a ``state``."""
        self.model.load_state_dict(under(tensors, "model/"))
        self.average.load_state_dict(under(tensors, "average/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under(tensors, "optimiser/").items():
            number, key = name.split("/")
            moments.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        for group, rate in zip(self.optimiser.param_groups, state["learning_rates"], strict=True):
            group["lr"] = self._rate(rate)
        self.schedule.load_state_dict(state["schedule"])

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """The model's parameters, and those of a text encoder apart, which learns more slowly."""
        encoder = self.model.encoder if isinstance(self.model, FineTuned) else nn.Module()
        model = self.model.model if isinstance(self.model, FineTuned) else self.model
        rates = ((model, self.training.learning_rate), (encoder, self.training.text_learning_rate))
        return [
            {"params": parameters, "lr": self._rate(rate)}
            for part, rate in rates
            if (parameters := list(part.parameters()))
        ]

    def _rate(self, rate: float) -> float | Tensor:
        """A captured update reads the learning rate, which changes, where it lies."""
        return torch.tensor(rate, device=self.device) if self.graphed else rate

    def _update(self) -> None:
        """A step of the optimiser, of which the first starts the average."""
        decay = self.training.average_decay if self.optimiser.state else 0.0
        self.optimiser.step()
        get_ema_multi_avg_fn(decay)(list(self.average.parameters()), self.parameters, None)
        self.forget_gradients()


class Steps:
    """Steps of a model by itself; each is worked out when it is asked for. ``Member`` of a stack does the same."""

    def __init__(self, model: Model, data: DeviceSamples, training: Training):
        self.model, self.data, self.training = model, data, training
        self.parameters = list(model.parameters())

    def begin(self, indices: np.ndarray, divisor: int) -> None:
        """Add the gradients of the samples ``indices`` [B], divided by ``divisor``."""
        batch = self.data.batch(indices)
        with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=self.training.mixed_precision):
            terms = self.model.losses(self.model(batch), batch.labels)
        (terms["total"] / divisor).backward()
        nn.utils.clip_grad_value_(self.parameters, self.training.clip_value)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        finite = torch.isfinite(norm + terms["total"].detach())
        self.result = {name: value.detach() for name, value in terms.items()}, finite

    def end(self) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of the loss, and whether its total and all gradients are finite."""
        return self.result

    def leave(self) -> None:
        """Nobody waits for the place."""


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
