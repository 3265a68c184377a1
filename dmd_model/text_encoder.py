"""Models whose text features are learned with them: an encoder of the BERT family in front of any model.

Text then comes as word pieces: two columns, the piece's number in the encoder's vocabulary and the word that it is part
of (from 1; 0 for the marks at beginning and end). A word's features are the mean of its pieces' last hidden states.
Shapes: B batch, P pieces, W words, H width of the encoder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmd_model.batch import Batch, DataError
from dmd_model.model import Model


@dataclass(frozen=True)
class TextEncoder:
    """An encoder as a folder of the Hugging Face layout holds it: its ``config.json`` and a digest of its weights."""

    config: dict[str, Any]
    weights: str

    @classmethod
    def at(cls, folder: Path) -> TextEncoder:
        """The encoder in ``folder``; raises DataError where there is none."""
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                raise DataError(f"{folder} has no {name}: a text encoder is a folder of the Hugging Face layout")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16])

    def build(self) -> nn.Module:
        """The encoder with random weights."""
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.for_model(**self.config)
        return AutoModel.from_config(config, **_without_pooler(config))


class FineTuned(Model):
    """A model that reads the word vectors of an encoder, which is trained with it."""

    def __init__(self, encoder: nn.Module, model: Model):
        super().__init__()
        self.encoder, self.model = encoder, model
        self.config = replace(model.config, lengths=(encoder.config.max_position_embeddings, *model.config.lengths[1:]))

    @property
    def fixed_lengths(self) -> tuple[int, int, int] | None:
        """Those of the model; word pieces are padded to as many as there are words."""
        return self.model.fixed_lengths

    def forward(self, batch: Batch) -> Any:
        """The output of the model on a batch whose text are word pieces, [B, P, 2]."""
        return self.model(self.encode(batch))

    def encode(self, batch: Batch) -> Batch:
        """The batch with a vector for each word, [B, W, H], as many words as the model takes."""
        pieces, words = batch.text.long().unbind(dim=-1)  # [B, P] each
        attention = torch.arange(pieces.shape[1], device=pieces.device) < batch.lengths[0, :, None]
        attention = attention | (batch.lengths[0] == 0)[:, None]  # without text, anything but a row of no attention
        states = self.encoder(input_ids=pieces, attention_mask=attention.long()).last_hidden_state  # [B, P, H]
        counts = words.amax(dim=1).clamp(max=self.model.config.lengths[0])  # [B]
        longest = self.model.config.lengths[0] if self.fixed_lengths else max(1, int(counts.max()))
        member = words[:, None] == torch.arange(1, longest + 1, device=words.device)[:, None]  # [B, W, P]
        member = member.to(states.dtype)
        text = member @ states / member.sum(dim=2, keepdim=True).clamp(min=1)  # [B, W, H]
        return replace(batch, text=text.float(), lengths=torch.stack([counts, *batch.lengths[1:]]))

    def losses(self, output: Any, labels: Tensor) -> dict[str, Tensor]:
        """Those of the model."""
        return self.model.losses(output, labels)

    def units(self, output: Any) -> Any:
        """The graph distillation units of a DMD."""
        return self.model.units(output)


def load_weights(encoder: nn.Module, folder: Path) -> None:
    """Give an encoder the weights in ``folder``."""
    from transformers import AutoModel

    trained = AutoModel.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, **_without_pooler(encoder.config)
    )
    encoder.load_state_dict(trained.state_dict())


def _without_pooler(config: Any) -> dict[str, bool]:
    """BERT's pooler reads only the first mark, which no word has a share in: its weights would never be trained."""
    return {"add_pooling_layer": False} if config.model_type in ("bert", "mpnet", "roberta") else {}
