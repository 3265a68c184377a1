"""Predictions of a trained model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dmd_model.batch import DataError, DeviceSamples, Samples
from dmd_model.config import Training
from dmd_model.model import Model

Placed = list[tuple[Tensor, tuple[int, int, int], tuple[str, ...]]]
"""Batches as ``DeviceSamples.gather`` takes them."""
_BATCH = 128


def predict(model: Model, samples: Samples) -> np.ndarray:
    """Predictions float32 [N] of a trained model, in the order of ``samples``; labels are not looked at.

    Of E emotions, the probability of each, [N, E]. Raises DataError on bad samples and on columns that are not those
    the model was trained on.
    """
    return readable(predict_placed(model, prepare(model, samples)), model.run.training)


def prepare(model: Model, samples: Samples) -> DeviceSamples:
    """Samples as a trained model takes them: checked, standardised, on its device; raises DataError as ``predict``."""
    samples.check()
    for modality, names in model.run.columns.items():
        if samples.columns[modality] != names:
            raise DataError(f"{modality}: the columns are not those the model was trained on ({len(names)}, from "
                            f"{names[0]} to {names[-1]})")  # fmt: skip
    return place(model.run.standardiser(samples), model, next(model.parameters()).device)


def readable(predictions: np.ndarray, training: Training) -> np.ndarray:
    """What a model predicts [N] on the scale of the labels; logits of emotions [N, E] as probabilities."""
    return training.from_model(predictions) if predictions.ndim == 1 else 1 / (1 + np.exp(-predictions))


def place(samples: Samples, model: Model, device: torch.device) -> DeviceSamples:
    """Samples on a device, as long as the model takes them."""
    fixed = model.fixed_lengths
    return DeviceSamples(samples, fixed or model.config.lengths, fixed is not None, device)


def predict_placed(model: Model, data: DeviceSamples) -> np.ndarray:
    """What the model gives, float32 [N] or [N, E], in the order of the data."""
    model.eval()
    return predict_batches(model, data, *placed_batches(data)).cpu().numpy()


def placed_batches(data: DeviceSamples) -> tuple[Placed, Tensor]:
    """All samples in batches, and where among these each sample is, int64 [N]."""
    batches, device = in_batches(data), data.labels.device
    placed = [
        (torch.as_tensor(indices, device=device), data.longest_of(indices), data.ids_of(indices)) for indices in batches
    ]
    return placed, torch.as_tensor(np.argsort(np.concatenate(batches)), device=device)


@torch.inference_mode()
def predict_batches(model: Model, data: DeviceSamples, batches: Placed, order: Tensor) -> Tensor:
    """What the model gives of the ``placed_batches``, [N] or [N, E] in the order of the data.

    A GPU is not waited for.
    """
    return torch.cat([model(data.gather(*batch)).prediction.float() for batch in batches])[order]


def in_batches(data: DeviceSamples) -> list[np.ndarray]:
    """Indices of all segments, once, in batches of segments of like length."""
    order = np.argsort(data.counts.max(axis=0), kind="stable")
    return [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
