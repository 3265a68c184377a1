"""MFM, Multimodal Factorization Model (Tsai, Liang, Zadeh, Morency and Salakhutdinov, ICLR 2019, arXiv 1806.06176).

A sample is factorised into one factor that all modalities share, from which alone the label is predicted, and one of
each modality's own; from the shared and its own factor each modality is generated again. An MMD draws the codes that
the factors come from to a Gaussian. The encoder of the shared code is MFN, the Memory Fusion Network (Zadeh, Liang,
Mazumder, Poria, Cambria and Morency, AAAI 2018, arXiv 1802.00927): one LSTM for each modality, and a memory that is
written, word by word, with what an attention finds in the change of their cells.

Shapes: B batch, T words (the three modalities are word-aligned), D_m columns, S the LSTMs' cells in all, M memory.

Uncertain in the source, and chosen here:
- Sizes, dropouts and weights are those of MMSA's configuration. Its attention of 1278 units for MOSEI is taken for a
  slip of 128. Its learning rates are never read: both codes train with Adam's default, and so do the presets.
- The layers that MFN predicts with when it stands alone are left out: in MFM nothing reads them.
- Both codes read, generate and score padding; here none takes part. In absent modalities the cells are zero, and
  neither their code nor their generation is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.config import MODALITIES, Training
from dmd_model.discrepancy import maximum_mean_discrepancy
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent, inside


@dataclass(frozen=True)
class MFMConfig:
    """Defaults are MMSA's for MOSI. Widths are in units, tuples in the order text, vision, audio."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences, in words

    # MFN. A gate, and what finds and proposes the content of the memory, is a net of one hidden layer.
    cells: tuple[int, int, int] = (128, 128, 32)
    memory: int = 64
    attention_hidden: int = 32
    proposal_hidden: int = 64
    retain_hidden: int = 32
    update_hidden: int = 64
    attention_dropout: float = 0.7
    proposal_dropout: float = 0.0
    retain_dropout: float = 0.0
    update_dropout: float = 0.5

    # Codes z and the factors f made of them.
    shared_code: int = 80
    shared_factor: int = 64
    codes: tuple[int, int, int] = (64, 80, 80)
    factors: tuple[int, int, int] = (32, 64, 16)
    shared_dropout: float = 0.5
    factor_dropout: tuple[float, float, float] = (0.5, 0.5, 0.7)
    head_dropout: float = 0.0

    generation_weights: tuple[float, float, float] = (0.5, 0.5, 0.01)
    prior_weight: float = 100.0

    @classmethod
    def mosei(cls) -> MFMConfig:
        """MMSA's for MOSEI."""
        return cls(
            cells=(256, 256, 32), attention_hidden=128, proposal_hidden=32, retain_hidden=64, update_hidden=128,
            attention_dropout=0.5, proposal_dropout=0.7, retain_dropout=0.5, update_dropout=0.2,
            shared_code=32, shared_factor=16, codes=(256, 80, 80), factors=(32, 32, 80),
            shared_dropout=0.2, factor_dropout=(0.7, 0.7, 0.7), head_dropout=0.2,
            generation_weights=(5.0, 5.0, 2.0), prior_weight=10.0,
        )  # fmt: skip


@dataclass(frozen=True)
class MFMOutput(Output):
    """``prediction`` [B], and what the losses generate from; text, vision, audio where there are three."""

    shared_code: Tensor  # [B, z]
    codes: tuple[Tensor, ...]  # [B, z_m]
    factors: tuple[Tensor, ...]  # [B, f + f_m], the shared factor and the modality's own
    sequences: tuple[Tensor, ...]  # [B, T, D_m]
    lengths: Tensor  # [3, B]


class MFM(Model):
    """The factorisation, its prediction, and the generation of the modalities."""

    PRESETS = {
        "mosi": (MFMConfig(), Training(batch_size=64, learning_rate=1e-3, weight_decay=1e-3)),
        "mosei": (MFMConfig.mosei(), Training(batch_size=64, learning_rate=1e-3, weight_decay=5e-4)),
    }

    def __init__(self, config: MFMConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, shared = config, config.shared_factor
        self.fusion = MemoryFusion(config, columns)
        self.to_shared_code = nn.Linear(self.fusion.width, config.shared_code)
        self.encoders = nn.ModuleList(Recurrent(d, z) for d, z in zip(columns, config.codes, strict=True))
        self.to_codes = nn.ModuleList(nn.Linear(z, z) for z in config.codes)
        self.to_shared_factor = two_layers(config.shared_code, shared, shared, config.shared_dropout)
        self.to_factors = nn.ModuleList(
            two_layers(z, f, f, p)
            for z, f, p in zip(config.codes, config.factors, config.factor_dropout, strict=True)
        )  # fmt: skip
        self.head = two_layers(shared, shared, 1, config.head_dropout)
        self.decoders = nn.ModuleList(Decoder(shared + f, d) for f, d in zip(config.factors, columns, strict=True))

    def forward(self, batch: Batch) -> MFMOutput:
        """The prediction [B], with codes and factors. Raises DataError on data that are not word-aligned."""
        sequences, _ = batch.aligned()
        lengths = batch.lengths
        shared_code = self.to_shared_code(self.fusion(sequences, lengths))
        codes = tuple(
            to_code(encoder(x, length)[1])
            for encoder, to_code, x, length in zip(self.encoders, self.to_codes, sequences, lengths, strict=True)
        )
        shared = self.to_shared_factor(shared_code).relu()
        own = (to_factor(code).relu() for to_factor, code in zip(self.to_factors, codes, strict=True))
        factors = tuple(torch.cat([shared, factor], dim=1) for factor in own)
        return MFMOutput(self.head(shared).squeeze(-1), shared_code, codes, factors, sequences, lengths)

    def losses(self, output: MFMOutput, labels: Tensor) -> dict[str, Tensor]:
        """The task's L1, a squared error of generation for each modality, and the MMD of all codes to a Gaussian."""
        task = (output.prediction - labels).abs().mean()
        generation = {
            f"generation_{name}": squared_error(decoder(factor, x.shape[1]), x, lengths)
            for name, decoder, factor, x, lengths in zip(
                MODALITIES, self.decoders, output.factors, output.sequences, output.lengths, strict=True
            )
        }
        prior = to_gaussian(output.shared_code)
        for code, lengths in zip(output.codes, output.lengths, strict=True):
            prior = prior + to_gaussian(code, lengths > 0)
        weighted = (w * term for w, term in zip(self.config.generation_weights, generation.values(), strict=True))
        total = task + sum(weighted) + self.config.prior_weight * prior
        return {"total": total, "task": task, **generation, "prior": prior}


class MemoryFusion(nn.Module):
    """MFN without its head: sequences [B, T, D_m] -> last states and memory [B, S + M]."""

    def __init__(self, config: MFMConfig, columns: tuple[int, int, int]):
        super().__init__()
        cells, memory = sum(config.cells), config.memory
        self.width = cells + memory
        self.cells = nn.ModuleList(nn.LSTMCell(d, h) for d, h in zip(columns, config.cells, strict=True))
        self.attention = two_layers(2 * cells, config.attention_hidden, 2 * cells, config.attention_dropout)
        self.proposal = two_layers(2 * cells, config.proposal_hidden, memory, config.proposal_dropout)
        self.retain = two_layers(2 * cells + memory, config.retain_hidden, memory, config.retain_dropout)
        self.update = two_layers(2 * cells + memory, config.update_hidden, memory, config.update_dropout)

    def forward(self, sequences: tuple[Tensor, ...], lengths: Tensor) -> Tensor:
        states, cells = self._run_cells(sequences, lengths > 0)  # [B, T, S] each
        memories = self._run_memory(cells)  # [B, T, M]
        last = lengths.amax(dim=0).clamp(min=1) - 1  # [B]; what comes after it, in padding, is not read
        return torch.cat([states, memories], dim=2).take_along_dim(last[:, None, None], dim=1).squeeze(1)

    def _run_cells(self, sequences: tuple[Tensor, ...], there: Tensor) -> tuple[Tensor, Tensor]:
        """States and cells of the LSTMs side by side; zero in modalities that are not ``there``, bool [3, B]."""
        states, cells = [], []
        for cell, x, kept in zip(self.cells, sequences, there, strict=True):
            pair, pairs = None, []
            for step in x.unbind(dim=1):
                pair = cell(step, pair)
                pairs.append(pair)
            h, c = (torch.stack(each, dim=1) * kept[:, None, None] for each in zip(*pairs, strict=True))
            states.append(h)
            cells.append(c)
        return torch.cat(states, dim=2), torch.cat(cells, dim=2)

    def _run_memory(self, cells: Tensor) -> Tensor:
        """The memory after each step, [B, T, M]. It decides only what it keeps and takes of what it is offered."""
        before = torch.cat([torch.zeros_like(cells[:, :1]), cells[:, :-1]], dim=1)
        change = torch.cat([before, cells], dim=2)  # [B, T, 2S]
        attended = change * self.attention(change).softmax(dim=2)
        offered = self.proposal(attended).tanh()  # [B, T, M]
        memory, memories = torch.zeros_like(offered[:, 0]), []
        for found, offer in zip(attended.unbind(dim=1), offered.unbind(dim=1), strict=True):
            both = torch.cat([found, memory], dim=1)
            memory = self.retain(both).sigmoid() * memory + self.update(both).sigmoid() * offer
            memories.append(memory)
        return torch.stack(memories, dim=1)


class Decoder(nn.Module):
    """A factor [B, f] -> a sequence [B, T, D]: an LSTM that starts from the factor and is then fed its own state.

    Such an LSTM is one that is fed the factor and then zeros, and whose recurrent weights are the sum of the weights
    of its input and its state. That one runs without a loop; its weights begin as such a sum.
    """

    def __init__(self, width: int, columns: int):
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)
        with torch.no_grad():
            self.lstm.weight_hh_l0 += self.lstm.weight_ih_l0
        self.out = nn.Linear(width, columns)

    def forward(self, factor: Tensor, steps: int) -> Tensor:
        states, _ = self.lstm(nn.functional.pad(factor[:, None], (0, 0, 0, steps - 1)))
        return self.out(states)


def two_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def squared_error(generated: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared error over the elements of steps that are no padding, [B, T, D] and lengths [B]; 0 without any."""
    errors = (generated - x).square().mean(dim=2) * inside(lengths, x.shape[1])  # [B, T]
    return errors.sum() / lengths.sum().clamp(min=1)


def to_gaussian(code: Tensor, kept: Tensor | None = None) -> Tensor:
    """MMD of codes [B, z], those that are ``kept`` [B] or all, to as many draws from N(0, 1)."""
    return maximum_mean_discrepancy(code, torch.randn_like(code), kept)
