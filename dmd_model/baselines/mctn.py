"""MCTN, Multimodal Cyclic Translation Network (Pham et al., "Found in translation", AAAI 2019, arXiv 1812.07809).

Text is encoded, translated to vision and back, and its encoding once more, to be translated to audio; the prediction
is read from that second encoding. Translations only teach: a prediction needs text alone, and no decoder.

Uncertain in the source, and chosen here:
- One encoder and one decoder serve both directions between text and vision, as in the authors' code (hainow/MCTN), so
  frames of the two are padded to one width. The loss is over their real columns, not over that padding.
- The decoder is the one of thuiar/MMSA: an LSTM with additive attention that starts from the encoder's final state and
  is fed the frame before. What MMSA does by mistake is not copied: it feeds the true frame whether or not it means to,
  forgets the decoder's state at every step, and runs its LSTMs along the batch instead of time. Here a draw decides for
  every frame of every segment whether the true or the own one is fed; after training, no true one is.
- The authors cut segments to 20 words; here they are as long as for the other models.
- The authors punish the squared weights of the last layer, times 0.01; MMSA does not, and nor does this.
- MMSA clips the norm of all gradients; here, as for every model, single elements are clipped.
- The authors train for 200 epochs at 1e-4; here it is 1e-3, for the number of epochs is that of all models.
- There are no settings for MOSEI; they are those for MOSI.

A translation counts where a segment has both modalities. A segment without text has an encoding of zeros, and so the
same prediction as any other without text.

Shapes: B batch, T steps of the source, U of the target, D width of a frame, H state width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent, inside


@dataclass(frozen=True)
class MCTNConfig:
    """Sizes and weights; of the authors' code, teacher forcing of MMSA. There is no dropout in either."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in steps
    hidden: int = 32  # width of all states and encodings
    teacher_forcing: float = 0.5  # how often, in training, a decoder is fed the true frame before, not its own
    translation_weight: float = 0.1  # of each of the three translations


@dataclass(frozen=True)
class Encoding:
    states: Tensor  # [B, T, H], zero in padding
    final: Tensor  # [B, H]
    lengths: Tensor  # int64 [B]


@dataclass(frozen=True)
class MCTNOutput(Output):
    """``prediction`` [B], and what the losses translate."""

    text: Encoding  # what is translated to vision
    joint: Encoding  # what is translated to audio
    batch: Batch  # the translations' targets


class MCTN(Model):
    """Two translators, one on the encoding of the other, and a regression on the second one's encoding."""

    PRESETS = {preset: (MCTNConfig(), Training(batch_size=32, learning_rate=1e-3)) for preset in ("mosi", "mosei")}

    def __init__(self, config: MCTNConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, hidden = config, config.hidden
        self.frame = max(columns[:2])
        self.text_vision = Translator(self.frame, self.frame, hidden)
        self.joint_audio = Translator(hidden, columns[2], hidden)
        self.lstm = Recurrent(hidden, hidden)
        self.attention = nn.Linear(hidden, 1)
        self.out = nn.Linear(hidden, 1)

    def forward(self, batch: Batch) -> MCTNOutput:
        """Predictions, from text alone; the translations are made where they are needed, by the losses."""
        text = self.text_vision.encode(self._widened(batch.text), batch.lengths[0])
        joint = self.joint_audio.encode(text.states, text.lengths)
        states, _ = self.lstm(joint.states, text.lengths)  # [B, T, H]
        scores = self.attention(states).squeeze(2).tanh() + padding_bias(text.lengths, states.shape[1])  # [B, T]
        pooled = (scores.softmax(dim=1)[:, None] @ states).squeeze(1)  # [B, H]
        return MCTNOutput(self.out(pooled).squeeze(-1), text, joint, batch)

    def losses(self, output: MCTNOutput, labels: Tensor) -> dict[str, Tensor]:
        """``vision``, ``cycle`` (text, translated back from the translated vision) and ``audio`` are squared errors."""
        batch = output.batch
        teacher_forcing = self.config.teacher_forcing if self.training else 0.0
        vision = self.text_vision.decode(output.text, batch.vision, teacher_forcing)
        seen = self.text_vision.encode(self._widened(vision), batch.lengths[1])
        text = self.text_vision.decode(seen, batch.text, teacher_forcing)
        audio = self.joint_audio.decode(output.joint, batch.audio, teacher_forcing)
        there = batch.lengths > 0  # [3, B]
        terms = {
            "task": (output.prediction - labels).abs().mean(),
            "vision": squared_error(vision, batch.vision, batch.lengths[1] * there[0]),
            "cycle": squared_error(text, batch.text, batch.lengths[0] * there[1]),
            "audio": squared_error(audio, batch.audio, batch.lengths[2] * there[0]),
        }
        translations = terms["vision"] + terms["cycle"] + terms["audio"]
        return {"total": terms["task"] + self.config.translation_weight * translations, **terms}

    def _widened(self, frames: Tensor) -> Tensor:
        return F.pad(frames, (0, self.frame - frames.shape[2]))


class Translator(nn.Module):
    """A bidirectional LSTM as encoder, and as decoder an LSTM that attends to what was encoded.

    ``source`` and ``target`` are the widths of what is encoded and of the widest frames that are decoded.
    """

    def __init__(self, source: int, target: int, hidden: int):
        super().__init__()
        self.encoder = Recurrent(source, hidden, bidirectional=True)
        self.start = nn.Linear(hidden, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        # The four gates of the decoder's LSTM are the sum of these two: from the frame before, and [state; context].
        self.fed = nn.Linear(target, 4 * hidden)
        self.recurrent = nn.Linear(2 * hidden, 4 * hidden, bias=False)
        self.emit = nn.Linear(2 * hidden, target)

    def encode(self, x: Tensor, lengths: Tensor) -> Encoding:
        """Encode [B, T, D]; the two directions are summed."""
        states, final = self.encoder(x, lengths)
        return Encoding(states.unflatten(2, (2, -1)).sum(dim=2), final.unflatten(1, (2, -1)).sum(dim=1), lengths)

    def decode(self, source: Encoding, target: Tensor, teacher_forcing: float) -> Tensor:
        """The translation of ``source`` to as many and as wide frames as ``target`` has: [B, U, D].

        Narrow frames are the decoder's first columns. What is in ``target`` matters only to teacher forcing.
        """
        width = target.shape[2]
        emit_weight, emit_bias, fed_weight = (
            self.emit.weight[:width],
            self.emit.bias[:width],
            self.fed.weight[:, :width],
        )
        keys, bias = self.key(source.states), padding_bias(source.lengths, source.states.shape[1])
        before = F.pad(target[:, :-1], (0, 0, 1, 0))  # the first frame is fed zeros
        forced = torch.rand(*target.shape[:2], 1, device=target.device) < teacher_forcing
        state = self.start(source.final).tanh()  # [B, H]
        cell, frame = torch.zeros_like(state), before[:, 0]
        frames = []
        for true, force in zip(before.unbind(1), forced.unbind(1), strict=True):
            scores = self.score((keys + self.query(state)[:, None]).tanh()).squeeze(2) + bias  # [B, T]
            context = (scores.softmax(dim=1)[:, None] @ source.states).squeeze(1)  # [B, H]
            gates = self.recurrent(torch.cat([state, context], dim=1))  # [B, 4H]
            gates = gates + F.linear(torch.where(force, true, frame), fed_weight, self.fed.bias)
            update, keep, new, show = gates.chunk(4, dim=1)
            cell = keep.sigmoid() * cell + update.sigmoid() * new.tanh()
            state = show.sigmoid() * cell.tanh()
            frame = F.linear(torch.cat([state, context], dim=1), emit_weight, emit_bias)
            frames.append(frame)
        return torch.stack(frames, dim=1)


def padding_bias(lengths: Tensor, steps: int) -> Tensor:
    """What makes a softmax leave out padding, [B, T]; finite, so that a segment of length 0 gives no NaN."""
    return torch.where(inside(lengths, steps), 0.0, -1e9)


def squared_error(x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared difference of two [B, U, D] over the steps that are no padding; 0 if there are none."""
    kept = inside(lengths, x.shape[1])
    errors = (x - y).square().mean(dim=2)  # [B, U]
    return (errors * kept).sum() / kept.sum().clamp(min=1)
