"""A trained model as an ONNX file, from the features as they were extracted to the sentiment on the labels' scale.

Shapes: B batch, T_m steps and D_m columns of a modality; both B and T_m are free.
"""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.checkpoint import CheckpointError, write_bytes
from dmd_model.config import MODALITIES
from dmd_model.model import Model
from dmd_model.text_encoder import FineTuned

INPUTS = (*MODALITIES, *(f"{name}_measured" for name in MODALITIES), "lengths")
"""Features float32 [B, T_m, D_m]; whether a row was measured, bool [B, T_m]; lengths int64 [3, B]."""


class _FromFeatures(nn.Module):
    """Standardisation, model and the scale of the labels in one."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model
        for name, mean in model.run.standardiser.means.items():
            self.register_buffer(f"{name}_mean", torch.from_numpy(mean))
            self.register_buffer(f"{name}_scale", torch.from_numpy(model.run.standardiser.scales[name]))

    def forward(self, text: Tensor, vision: Tensor, audio: Tensor, text_measured: Tensor, vision_measured: Tensor,
                audio_measured: Tensor, lengths: Tensor) -> Tensor:  # fmt: skip
        """Sentiments [B], or of E emotions their probabilities [B, E]."""
        sequences, present = [], []
        features = (text, vision, audio), (text_measured, vision_measured, audio_measured)
        for name, x, measured, length in zip(MODALITIES, *features, lengths, strict=True):
            measured = measured & (torch.arange(x.shape[1]) < length[:, None])  # [B, T_m]
            if self.model.run.training.standardise:
                x = (x - getattr(self, f"{name}_mean")) * getattr(self, f"{name}_scale")
            sequences.append(x * measured[..., None])
            present.append(length * measured.any(dim=1))
        found = self.model(Batch((), *sequences, torch.stack(present), text.new_zeros(text.shape[0]))).prediction
        return self.model.run.training.from_model(found) if found.dim() == 1 else found.sigmoid()


def export_onnx(model: Model, path: Path) -> None:
    """Write a trained model as an ONNX file with the inputs ``INPUTS`` and the output ``prediction``.

    Raises CheckpointError for a model that ONNX cannot hold: one of packed recurrences, of fixed lengths, or with a
    text encoder (which the libraries of the encoder export). Needs the extra ``onnx``.
    """
    if model.run is None or model.fixed_lengths is not None or isinstance(model, FineTuned):
        raise CheckpointError(f"{type(model).__name__} cannot be exported: only a trained model that takes features of "
                              "any length can")  # fmt: skip
    if any(isinstance(part, nn.RNNBase) for part in model.modules()):
        raise CheckpointError(f"{model.run.model} cannot be exported: ONNX has no recurrence over packed sequences")
    batch = torch.export.Dim("batch")
    steps = [torch.export.Dim(f"{name}_steps") for name in MODALITIES]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            _FromFeatures(model).eval(), _example(model), input_names=INPUTS, output_names=["prediction"], dynamo=True,
            dynamic_shapes=(*({0: batch, 1: step} for step in (*steps, *steps)), {1: batch}), verbose=False,
        )  # fmt: skip
    content = io.BytesIO()
    program.save(content)
    write_bytes(path, content.getvalue())


def _example(model: Model) -> tuple[Tensor, ...]:
    """Four segments of unlike lengths; no two sizes are the same, so that the export takes none for another."""
    longest = (7, 9, 11)
    columns = [len(names) for names in model.run.columns.values()]
    features = [torch.randn(4, steps, width) for steps, width in zip(longest, columns, strict=True)]
    measured = [torch.ones(4, steps, dtype=torch.bool) for steps in longest]
    lengths = torch.tensor([[steps, steps - 1, steps - 2, 1] for steps in longest])
    return (*features, *measured, lengths)
