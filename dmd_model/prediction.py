"""Predictions of a trained model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dmd_model.batch import DataError, DeviceSamples, Samples
from dmd_model.checkpoint import Trained

_BATCH = 128


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
    return predict_placed(trained.model, place(trained.run.standardiser(samples), trained.model, device))


def place(samples: Samples, model: nn.Module, device: torch.device) -> DeviceSamples:
    """Samples on a device, as long as the model takes them."""
    fixed = model.fixed_lengths
    return DeviceSamples(samples, fixed or model.config.lengths, fixed is not None, device)


@torch.inference_mode()
def predict_placed(model: nn.Module, data: DeviceSamples) -> np.ndarray:
    """Predictions float32 [N] in the order of the data; batches are made of segments of like length."""
    model.eval()
    order = np.argsort(data.counts.max(axis=0), kind="stable")
    predictions = np.empty(len(data), np.float32)
    for at in range(0, len(order), _BATCH):
        indices = order[at : at + _BATCH]
        predictions[indices] = model(data.batch(indices)).prediction.cpu().numpy()
    return predictions
