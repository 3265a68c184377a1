"""One protocol for every model: train, select an average of its weights on the valid split, and test that once.

Everything random follows from the seed and the number of the epoch, so a run that was broken off goes on from its last
epoch exactly as if it had not been (on a CPU, bit for bit).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dmd_model import checkpoint
from dmd_model.batch import Batch, DataError, DeviceSamples, Samples, Standardiser
from dmd_model.checkpoint import Run, Trained
from dmd_model.metrics import evaluate
from dmd_model.registry import configure

SPLITS = ("train", "valid", "test")
_EVALUATION_BATCH = 128


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
        """``valid`` and ``test`` -> metrics of :func:`dmd_model.metrics.evaluate`; None where one is not defined."""
        return self.record["metrics"]


def fit(
    model_name: str,
    samples: Mapping[str, Samples],
    *,
    seed: int,
    folder: Path,
    overrides: Mapping[str, object] | None = None,
    device: str = "auto",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Train a model of the registry on ``samples`` (``train``, ``valid``, ``test``) and leave everything in ``folder``.

    ``overrides`` change fields of the model's config or of its protocol, by name. A folder whose run was broken off is
    resumed; one whose run has ended is read, not trained again. ``on_epoch`` gets each epoch's record of the history.
    Raises DataError (bad samples), CheckpointError (the folder holds another run), ValueError (unknown model or
    setting), DivergenceError (a loss is not finite).
    """
    folder = Path(folder)
    config, training = configure(model_name, overrides)
    check(samples)
    batches = math.ceil(len(samples["train"]) / training.batch_size)
    if batches < training.accumulate and not training.step_leftover_group:
        raise ValueError(f"{len(samples['train'])} training segments make {batches} batches, fewer than accumulate = "
                         f"{training.accumulate}: without step_leftover_group there is never a step")  # fmt: skip
    standardiser = Standardiser.over(samples["train"]) if training.standardise else Standardiser()
    run = Run(model_name, config, training, seed, samples["train"].columns, _digest(samples), standardiser)
    checkpoint.claim(folder, run)
    if not (folder / "result.json").exists():
        target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        with _deterministic(target, training.cpu_threads):
            _Fit(run, samples, folder, target).run(on_epoch)
    return read_result(folder)


def read_result(folder: Path) -> Result:
    """A finished run. Raises CheckpointError where there is none."""
    if not (folder / "result.json").exists():
        raise checkpoint.CheckpointError(f"{folder} has no result.json: there is no finished run in it")
    return Result(folder, checkpoint.read_json(folder / "result.json"), checkpoint.read_json(folder / "history.json"))


def predict(trained: Trained, samples: Samples) -> np.ndarray:
    """Predictions float32 [N] of a trained model, in the order of ``samples``; labels are not looked at.

    Raises DataError on bad samples and on columns that are not those the model was trained on.
    """
    samples.check(labelled=False)
    for modality, names in trained.run.columns.items():
        if samples.columns[modality] != names:
            raise DataError(f"{modality}: the columns are not those the model was trained on ({len(names)}, from "
                            f"{names[0]} to {names[-1]})")  # fmt: skip
    device = next(trained.model.parameters()).device
    return _predict(trained.model, _place(trained.run.standardiser(samples), trained.model, device))


def check(samples: Mapping[str, Samples]) -> None:
    """Raises DataError on splits that are missing, empty, bad, overlapping, or of unlike columns."""
    if set(samples) != set(SPLITS):
        raise DataError(f"splits are {', '.join(SPLITS)}; given: {', '.join(samples) or 'none'}")
    seen: dict[str, str] = {}
    for split in SPLITS:
        if not len(samples[split]):
            raise DataError(f"the {split} split has no segments")
        samples[split].check()
        if samples[split].columns != samples["train"].columns:
            raise DataError(f"the {split} split has other columns than the train split")
        for identifier in samples[split].ids:
            if identifier in seen:
                raise DataError(f"segment {identifier} is twice in the data: in {seen[identifier]} and in {split}")
            seen[identifier] = split


@contextmanager
def _deterministic(device: torch.device, cpu_threads: int) -> Iterator[None]:
    """Leaves the random state, the threads and the cuDNN settings of the caller as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cpu_threads)
    try:
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.backends.cudnn.flags(deterministic=True, benchmark=False),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


class _Fit:
    """The state of one run between epochs."""

    def __init__(self, run: Run, samples: Mapping[str, Samples], folder: Path, device: torch.device):
        self.definition, self.folder, self.device, self.training = run, folder, device, run.training
        torch.manual_seed(run.seed)
        self.model = run.build().to(device)
        self.samples = {split: _place(run.standardiser(samples[split]), self.model, device) for split in SPLITS}
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), self.training.learning_rate, weight_decay=self.training.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=self.training.plateau_factor, patience=self.training.plateau_patience
        )
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.training.average_decay))
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_mae, self.seconds = 0, float("inf"), 0.0

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None) -> None:
        """Train from the last whole epoch on until valid stops improving, then test the selected weights once."""
        self._resume()
        while not self._ended():
            began = time.monotonic()
            epoch = len(self.history) + 1
            learning_rate = self.optimiser.param_groups[0]["lr"]
            terms = self._train_epoch(epoch)
            valid = self.samples["valid"]
            mae = evaluate(_predict(self.average.module, valid), valid.labels.cpu().numpy())["mae"]
            self.schedule.step(mae)
            if mae < self.best_mae - self.training.minimum_improvement:
                self.best_epoch, self.best_mae = epoch, mae
                self.best = {name: value.clone() for name, value in self.average.module.state_dict().items()}
            elapsed = time.monotonic() - began
            self.seconds += elapsed
            record = {
                "epoch": epoch,
                "train": terms,
                "valid_mae": mae,
                "learning_rate": learning_rate,
                "seconds": elapsed,
            }
            self.history.append(record)
            self._save()
            if on_epoch:
                on_epoch(record)
        self._finish()

    def _ended(self) -> bool:
        epochs = len(self.history)
        return epochs >= self.training.max_epochs or epochs - self.best_epoch >= self.training.early_stop

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        """One pass over the training split; returns the mean of every loss term."""
        training, data = self.training, self.samples["train"]
        random = np.random.default_rng([self.definition.seed, epoch])
        torch.manual_seed(int(random.integers(2**63)))
        order = random.permutation(len(data))
        batches = [order[at : at + training.batch_size] for at in range(0, len(order), training.batch_size)]
        sums: dict[str, Tensor] = {}
        self.model.train()
        for first in range(0, len(batches), training.accumulate):
            group = batches[first : first + training.accumulate]
            self.optimiser.zero_grad(set_to_none=True)
            for indices in group:
                terms = self._backward(data.batch(indices), epoch, len(group) if training.mean_over_group else 1)
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0) + value.detach() * (len(indices) / len(order))
            if len(group) == training.accumulate or training.step_leftover_group:
                self.optimiser.step()
                self.average.update_parameters(self.model)
        return {name: value.tolist() for name, value in sums.items()}

    def _backward(self, batch: Batch, epoch: int, divisor: int) -> dict[str, Tensor]:
        terms = self.model.losses(self.model(batch), batch.labels)
        if not torch.isfinite(terms["total"]):
            bad = [name for name, value in terms.items() if not torch.isfinite(value).all()]
            raise _diverged(epoch, bad, batch)
        (terms["total"] / divisor).backward()
        nn.utils.clip_grad_value_(self.model.parameters(), self.training.clip_value)
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        if not torch.isfinite(nn.utils.get_total_norm(gradients.values())):
            bad = [f"the gradient of {name}" for name, value in gradients.items() if not torch.isfinite(value).all()]
            raise _diverged(epoch, bad, batch)
        return terms

    def _finish(self) -> None:
        """Test the selected weights, once, and write the model and its result."""
        self.model.load_state_dict(self.best)
        predictions = {split: _predict(self.model, self.samples[split]) for split in ("valid", "test")}
        labels = {split: self.samples[split].labels.cpu().numpy() for split in predictions}
        checkpoint.save_model(self.folder, {name: value.cpu() for name, value in self.best.items()})
        checkpoint.write_json(self.folder / "history.json", self.history)
        checkpoint.write_json(self.folder / "result.json", {
            "model": self.definition.model,
            "seed": self.definition.seed,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "seconds": self.seconds,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "segments": {split: len(self.samples[split]) for split in SPLITS},
            "metrics": {split: evaluate(predictions[split], labels[split]) for split in predictions},
            "predictions": {split: dict(zip(self.samples[split].ids, values.tolist(), strict=True))
                            for split, values in predictions.items()},
        })  # fmt: skip
        checkpoint.remove_epochs(self.folder)

    def _save(self) -> None:
        moments = self.optimiser.state_dict()["state"]
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {
            f"optimiser/{number}/{key}": value for number, state in moments.items() for key, value in state.items()
        }
        state = {
            "history": self.history, "best_epoch": self.best_epoch, "best_mae": self.best_mae, "seconds": self.seconds,
            "schedule": self.schedule.state_dict(), "learning_rate": self.optimiser.param_groups[0]["lr"],
        }  # fmt: skip
        checkpoint.save_epoch(self.folder, len(self.history), tensors, state)

    def _resume(self) -> None:
        """Go back to the last whole checkpoint of an epoch, if there is one."""
        found = checkpoint.last_epoch(self.folder)
        if found is None:
            return
        tensors, state = found
        self.model.load_state_dict(_under(tensors, "model/"))
        self.average.load_state_dict(_under(tensors, "average/"))
        self.best = {name: value.to(self.device) for name, value in _under(tensors, "best/").items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser/").items():
            number, key = name.split("/")
            moments.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.optimiser.param_groups[0]["lr"] = state["learning_rate"]
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.seconds = state["history"], state["seconds"]
        self.best_epoch, self.best_mae = state["best_epoch"], state["best_mae"]


def _diverged(epoch: int, bad: list[str], batch: Batch) -> DivergenceError:
    return DivergenceError(
        f"epoch {epoch}: {', '.join(bad)} not finite for segments {', '.join(batch.ids)}: "
        "lower learning_rate, or look at the features of these segments"
    )


def _place(samples: Samples, model: nn.Module, device: torch.device) -> DeviceSamples:
    fixed = model.fixed_lengths
    return DeviceSamples(samples, fixed or model.config.lengths, fixed is not None, device)


@torch.inference_mode()
def _predict(model: nn.Module, data: DeviceSamples) -> np.ndarray:
    """Predictions float32 [N] in the order of the data; batches are made of segments of like length."""
    model.eval()
    order = np.argsort(data.counts.max(axis=0), kind="stable")
    predictions = np.empty(len(data), np.float32)
    for at in range(0, len(order), _EVALUATION_BATCH):
        indices = order[at : at + _EVALUATION_BATCH]
        predictions[indices] = model(data.batch(indices)).prediction.cpu().numpy()
    return predictions


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _digest(samples: Mapping[str, Samples]) -> str:
    """Names the data: ids, labels and arrays of all splits, 16 hex digits of SHA-256."""
    digest = hashlib.sha256()
    for split in SPLITS:
        part = samples[split]
        digest.update(repr((split, part.ids)).encode())
        digest.update(np.ascontiguousarray(part.labels).tobytes())
        for sequences in part.modalities.values():
            for array in (sequences.values, sequences.offsets, sequences.measured):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
