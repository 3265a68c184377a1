"""One protocol for every model: train, select an average of its weights on the valid split, and test that once.

Everything random follows from the seed and the number of the epoch, or is in the checkpoint, so a run that was broken
off goes on from its last checkpoint exactly as if it had not been (on a CPU, bit for bit).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmd_model import checkpoint
from dmd_model.batch import PIECES, DataError, Samples, Standardiser
from dmd_model.checkpoint import Run
from dmd_model.lane import Answer, Lane
from dmd_model.learner import Learner, under
from dmd_model.metrics import evaluate, evaluate_emotions
from dmd_model.prediction import place, predict_placed, readable
from dmd_model.registry import configure
from dmd_model.seed_stack import SeedStack
from dmd_model.splits import check, digest, random_batches
from dmd_model.text_encoder import TextEncoder, load_weights

_SAVE_WITHIN_EPOCH = 30.0  # seconds between two checkpoints of one epoch
_SAVING_SHARE = 0.05  # of the time, at most, of all seeds of a stack
_ENDED = object()


class DivergenceError(RuntimeError):
    """A loss or a gradient that is not finite; the message names it, the epoch and the segments of the batch."""


@dataclass(frozen=True)
class Result:
    """A finished run: ``record`` is result.json, ``history`` history.json; the trained model is in ``folder``."""

    folder: Path
    record: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """``valid`` and ``test`` -> metrics of ``dmd_model.metrics.evaluate``; None where one is not defined."""
        return self.record["metrics"]


def fit(
    model_name: str,
    samples: Mapping[str, Samples],
    *,
    seed: int,
    folder: Path,
    overrides: Mapping[str, object] | None = None,
    text_encoder: Path | None = None,
    device: str = "auto",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Train a model of the registry on ``samples`` (``train``, ``valid``, ``test``) and leave everything in ``folder``.

    A search has no business with ``test`` and leaves it out.

    ``overrides`` change fields of the model's config or of its protocol, by name. Text that is given as word pieces
    needs ``text_encoder``, the folder of the encoder whose pieces they are: it is trained with the model. A folder
    whose run was broken off is resumed; one whose run has ended is read, not trained again. ``on_epoch`` gets each
    epoch's record of the history. Raises DataError (bad samples), CheckpointError (the folder holds another run),
    ValueError (unknown model or setting), DivergenceError (a loss is not finite).
    """
    folder = Path(folder)
    for _ in fit_in_turns(
        model_name, samples, seed=seed, folder=folder, overrides=overrides, text_encoder=text_encoder, device=device,
        on_epoch=on_epoch, stack=SeedStack(1),
    ):  # fmt: skip
        pass
    return read_result(folder)


def fit_in_turns(
    model_name: str,
    samples: Mapping[str, Samples],
    *,
    seed: int,
    folder: Path,
    overrides: Mapping[str, object] | None,
    text_encoder: Path | None,
    device: str,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    stack: SeedStack,
) -> Iterator[None]:
    """``fit`` that gives way after every batch, before the GPU has worked on it: so several trainings share one.

    Each ends as if it were alone. Trainings that are alike but for the seed may share a ``stack``, and each then ends
    as if it were alone in one of that size.
    """
    config, training = configure(model_name, overrides)
    emotions = getattr(config, "emotions", ())
    check(samples, emotions, training.label_range)
    if (samples["train"].text.columns == PIECES) != (text_encoder is not None):
        raise DataError(f"text comes as {', '.join(samples['train'].text.names[:3])}: a text encoder reads word pieces "
                        f"({', '.join(PIECES)}), and nothing else does")  # fmt: skip
    encoder = text_encoder and TextEncoder.at(text_encoder)
    batches = math.ceil(len(samples["train"]) / training.batch_size)
    if batches < training.accumulate and not training.step_leftover_group:
        raise ValueError(f"{len(samples['train'])} training segments make {batches} batches, fewer than accumulate = "
                         f"{training.accumulate}: without step_leftover_group there is never a step")  # fmt: skip
    standardiser = Standardiser.over(samples["train"]) if training.standardise else Standardiser()
    run = Run(model_name, config, training, seed, samples["train"].columns, digest(samples), standardiser, encoder)
    checkpoint.claim(folder, run)
    if not (folder / "result.json").exists():
        target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        lane = Lane(target, training.cpu_threads)
        with lane.turn():
            fitting = _Fit(run, samples, folder, target, text_encoder, stack)
            batches = fitting.run(on_epoch)
        try:
            while True:
                with lane.turn():
                    if next(batches, _ENDED) is _ENDED:
                        return
                yield
        finally:
            fitting.learner.steps.leave()


def read_result(folder: Path) -> Result:
    """A finished run. Raises CheckpointError where there is none."""
    if not (folder / "result.json").exists():
        raise checkpoint.CheckpointError(f"{folder} has no result.json: there is no finished run in it")
    return Result(folder, checkpoint.read_json(folder / "result.json"), checkpoint.read_json(folder / "history.json"))


class _Fit:
    """The state of one run, which is whole between two optimiser steps."""

    def __init__(
        self,
        run: Run,
        samples: Mapping[str, Samples],
        folder: Path,
        device: torch.device,
        text_encoder: Path | None,
        stack: SeedStack,
    ):
        self.definition, self.folder, self.device, self.training = run, folder, device, run.training
        torch.manual_seed(run.seed)
        self.model = run.build()
        if text_encoder is not None:
            load_weights(self.model.encoder, text_encoder)
        self.model.to(device)
        self.emotions = getattr(run.config, "emotions", ())
        self.samples = {split: place(self._prepared(part), self.model, device) for split, part in samples.items()}
        self.learner = Learner(self.model, self.samples["train"], self.samples["valid"], self.training, device, stack)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_error, self.seconds = 0, float("inf"), 0.0
        self.batches_done, self.sums = 0, {}  # of the epoch that is under way
        self.unchecked: tuple[Answer, np.ndarray] | None = None  # whether the last batch was finite, and its samples
        self.saved_at, self.saving_took, self.side_by_side = time.monotonic(), 0.0, stack.size

    def _prepared(self, samples: Samples) -> Samples:
        """Columns standardised, sentiments on the scale of models."""
        labels = samples.labels if self.emotions else self.training.to_model(samples.labels)
        return replace(self.definition.standardiser(samples), labels=labels)

    def _evaluate(self, predictions: np.ndarray, split: str) -> dict[str, float]:
        """Metrics of what the model predicts; the error, by which it is chosen, is in the unit of the labels."""
        labels = self.samples[split].labels.cpu().numpy()
        if self.emotions:
            return evaluate_emotions(predictions, labels, self.emotions)
        metrics = evaluate(predictions, labels)
        return {**metrics, "mae": metrics["mae"] * self.training.label_unit}

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None) -> Iterator[None]:
        """Train from where the run was broken off until valid stops improving, then test the selected weights once."""
        self._resume()
        while not self._ended():
            yield from self._train_epoch()
            yield from self._end_epoch()
            self._save_if_due(0)
            if on_epoch:
                on_epoch(self.history[-1])
        self._finish()

    def _ended(self) -> bool:
        epochs = len(self.history)
        return epochs >= self.training.max_epochs or epochs - self.best_epoch >= self.training.early_stop

    def _train_epoch(self) -> Iterator[None]:
        """One pass over the training split, or what is left of it."""
        training, data, epoch = self.training, self.samples["train"], len(self.history) + 1
        began = time.monotonic()
        batches = random_batches(data, training.batch_size, np.random.default_rng([self.definition.seed, epoch, 0]))
        if not self.batches_done:
            torch.manual_seed(int(np.random.default_rng([self.definition.seed, epoch, 1]).integers(2**63)))
        self.model.train()
        for first in range(self.batches_done, len(batches), training.accumulate):
            group = batches[first : first + training.accumulate]
            for indices in group:
                self.learner.steps.begin(indices, len(group) if training.mean_over_group else 1)
                yield
                terms, finite = self.learner.steps.end()
                self._check_last_batch()
                self.sums = self.sums or {name: torch.zeros_like(value) for name, value in terms.items()}
                torch._foreach_add_(
                    [self.sums[name] for name in terms], list(terms.values()), alpha=len(indices) / len(data)
                )
                self.unchecked = Answer(finite), indices
            if len(group) == training.accumulate or training.step_leftover_group:
                self.learner.update()
            else:
                self.learner.forget_gradients()
            self.batches_done = first + len(group)
            self.seconds, began = self.seconds + time.monotonic() - began, time.monotonic()
            self._save_if_due(_SAVE_WITHIN_EPOCH)

    def _check_last_batch(self) -> None:
        """Raises DivergenceError. It is asked when the next batch is under way, so that a GPU need not wait for it."""
        if self.unchecked is None:
            return
        finite, indices = self.unchecked
        self.unchecked = None
        if not finite:
            raise DivergenceError(
                f"epoch {len(self.history) + 1}: {', '.join(self.learner.not_finite(self.sums))} not finite for "
                f"segments {', '.join(self.samples['train'].ids_of(indices))}: lower learning_rate, or look at the "
                "features of these segments"
            )

    def _end_epoch(self) -> Iterator[None]:
        """Validate the averaged weights, keep them if they are the best, and go on to the next epoch."""
        began = time.monotonic()
        predictions = self.learner.predict_valid()
        yield
        self._check_last_batch()
        metrics = self._evaluate(predictions.cpu().numpy(), "valid")
        error = metrics["error" if self.emotions else "mae"]
        record = {
            "epoch": len(self.history) + 1,
            "train": {name: value.tolist() for name, value in self.sums.items()},
            "valid_error": error,
            "learning_rate": self.learner.learning_rates[0],
        }
        self.learner.schedule.step(error)
        if error < self.best_error - self.training.minimum_improvement:
            self.best_epoch, self.best_error = record["epoch"], error
            self.best = {name: value.clone() for name, value in self.learner.average.state_dict().items()}
        self.batches_done, self.sums = 0, {}
        self.seconds += time.monotonic() - began
        self.history.append({**record, "seconds": self.seconds - sum(past["seconds"] for past in self.history)})

    def _finish(self) -> None:
        """Test the selected weights, once, and write the model and its result."""
        self.model.load_state_dict(self.best)
        predictions = {
            split: predict_placed(self.model, data) for split, data in self.samples.items() if split != "train"
        }
        shown = {split: readable(values, self.training) for split, values in predictions.items()}
        checkpoint.save_model(self.folder, {name: value.cpu() for name, value in self.best.items()})
        checkpoint.write_json(self.folder / "history.json", self.history)
        checkpoint.write_json(self.folder / "result.json", {
            "model": self.definition.model,
            "seed": self.definition.seed,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "seconds": self.seconds,
            "environment": checkpoint.environment(self.device),
            "seeds_in_stack": self.side_by_side if self.learner.graphed else 1,
            "config": checkpoint.digest((self.folder / "config.json").read_bytes()),
            "data": self.definition.data,
            "segments": {split: len(data) for split, data in self.samples.items()},
            "metrics": {split: self._evaluate(values, split) for split, values in predictions.items()},
            "predictions": {split: dict(zip(self.samples[split].ids, values.tolist(), strict=True))
                            for split, values in shown.items()},
        })  # fmt: skip
        checkpoint.remove_states(self.folder)

    def _save_if_due(self, interval: float) -> None:
        """Save if the last time is ``interval`` seconds ago, and saving takes but a small share of the time."""
        began = time.monotonic()
        if began - self.saved_at < max(interval, self.side_by_side * self.saving_took / _SAVING_SHARE):
            return
        self._check_last_batch()
        self._save()
        self.saved_at = time.monotonic()
        self.saving_took = self.saved_at - began

    def _save(self) -> None:
        tensors, state = self.learner.state()
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"sums/{name}": value for name, value in self.sums.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        state |= {
            "history": self.history, "best_epoch": self.best_epoch, "best_error": self.best_error,
            "seconds": self.seconds, "batches_done": self.batches_done,
        }  # fmt: skip
        checkpoint.save_state(self.folder, len(self.history), self.batches_done, tensors, state)

    def _resume(self) -> None:
        """Go back to the last whole checkpoint, if there is one."""
        found = checkpoint.last_state(self.folder)
        if found is None:
            return
        tensors, state = found
        self.learner.load(tensors, state)
        self.best = {name: value.to(self.device) for name, value in under(tensors, "best/").items()}
        self.sums = {name: value.to(self.device) for name, value in under(tensors, "sums/").items()}
        self.history, self.seconds, self.batches_done = state["history"], state["seconds"], state["batches_done"]
        self.best_epoch, self.best_error = state["best_epoch"], state["best_error"]
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
