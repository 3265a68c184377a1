"""DMD as the official code computes it, in its plain form: one module for each modality, encoder and head.

Written from the equations alone: tests hold the package to it, and benchmarks time the package beside it. Modules have
the official names, so that official weights load by ``load_state_dict``. Keys and values of a layer share one dropout.

Shapes: B batch, d common width, T_m steps of modality m after its convolution, E width of an encoder, g of a graph
unit. Modalities are l, v, a: text, vision, audio.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.config import DMDConfig

# Of the six edges in their official order: l<-v, l<-a, v<-l, v<-a, a<-l, a<-v.
STUDENTS, TEACHERS = [0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]


class Attention(nn.Module):
    """Multi-head attention; rows of ``in_proj_weight`` are query, key, value."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        """x [T_q, B, E] attends to source [T_k, B, E] (None: to itself); mask [T_q, T_k] is added to the scores."""
        (steps, batch, width), weight, bias = x.shape, self.in_proj_weight, self.in_proj_bias
        if source is None:
            query, key, value = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            query = F.linear(x, weight[:width], bias[:width])
            key, value = F.linear(source, weight[width:], bias[width:]).chunk(2, dim=-1)
        # [B * heads, T, E / heads] each
        query, key, value = (t.reshape(len(t), batch * self.heads, -1).transpose(0, 1) for t in (query, key, value))
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)  # [B * heads, T_q, T_k]
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        return self.out_proj(torch.bmm(weights, value).transpose(0, 1).reshape(steps, batch, width))


class Layer(nn.Module):
    """A pre-norm layer; its first norm is for queries and sources alike."""

    def __init__(self, width: int, config: DMDConfig, attention_dropout: float):
        super().__init__()
        self.relu_dropout, self.residual_dropout = config.relu_dropout, config.residual_dropout
        self.self_attn = Attention(width, config.heads, attention_dropout)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.layer_norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, source: Tensor | None, mask: Tensor) -> Tensor:
        norm = self.layer_norms[0]
        attended = self.self_attn(norm(x), None if source is None else norm(source), mask)
        x = x + F.dropout(attended, self.residual_dropout, self.training)
        hidden = F.dropout(self.fc1(self.layer_norms[1](x)).relu(), self.relu_dropout, self.training)
        return x + F.dropout(self.fc2(hidden), self.residual_dropout, self.training)


class Encoder(nn.Module):
    """A transformer encoder over one sequence, which attends to itself or to a source; the source is never updated."""

    def __init__(self, width: int, layers: int, config: DMDConfig, attention_dropout: float):
        super().__init__()
        self.causal, self.dropout = config.causal, config.embed_dropout
        self.layers = nn.ModuleList(Layer(width, config, attention_dropout) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.register_buffer("positions", sinusoids(max(config.lengths), width), persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """x [T, B, E] with positions; a step whose first channel is exactly 0 counts as padding and gets none."""
        positions = self.positions[: len(x), None] * (x[:, :, :1] != 0)
        return F.dropout(math.sqrt(x.shape[-1]) * x + positions, self.dropout, self.training)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """x [T_q, B, E], source [T_k, B, E] -> [T_q, B, E]; causal: step i sees source steps up to i + |T_k - T_q|."""
        queries, keys = len(x), len(x if source is None else source)
        mask = x.new_full((queries, keys), -math.inf if self.causal else 0).triu(1 + abs(keys - queries))
        x, source = self.embed(x), None if source is None else self.embed(source)
        for layer in self.layers:
            x = layer(x, source, mask)
        return self.layer_norm(x)


class GraphUnit(nn.Module):
    """Graph distillation in one space: three modalities, six weighted edges from teacher to student."""

    def __init__(self, width: int, hidden: int, prior: list[int], repel: bool):
        super().__init__()
        self.repel = repel
        self.W_logit, self.W_repr = nn.Linear(1, hidden), nn.Linear(width, hidden)
        self.W_edge = nn.Linear(4 * hidden, 1)
        self.register_buffer("prior", (torch.tensor(prior) / 0.25).softmax(dim=0), persistent=False)  # [6]

    def forward(self, logits: Tensor, representations: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """logits [3, B, 1], representations [3, B, h] -> edges [6, B], losses of edges, logits and representations."""
        z = torch.cat([self.W_logit(logits), self.W_repr(representations)], dim=-1)  # [3, B, 2g]
        edges = (self.W_edge(torch.cat([z[STUDENTS], z[TEACHERS]], dim=-1)).squeeze(-1) / 8).softmax(dim=0)  # [6, B]
        regularisation = 10 * (edges.mean(dim=1) - self.prior).square().sum()
        weights = edges + self.prior[:, None]
        difference = (logits[STUDENTS] - logits[TEACHERS].detach()).abs().squeeze(-1)  # [6, B]
        students, teachers = representations[STUDENTS], representations[TEACHERS].detach()  # [6, B, h]
        if self.repel:  # the mean cosine, which no sample weighs
            distance = cosine(students, teachers, dim=2).relu().mean(dim=1, keepdim=True)  # [6, 1]
        else:
            distance = (students - teachers).abs().sum(dim=2)  # [6, B]
        representation = 10 * (weights * distance).mean(dim=1).sum()
        return edges, regularisation, (weights * difference).mean(dim=1).sum(), representation


def graph_units(config: DMDConfig) -> tuple[GraphUnit, GraphUnit]:
    """The homogeneous and the heterogeneous unit."""
    homo = GraphUnit(config.d, config.homo_hidden, [0, 0, 1, 0, 1, 0], repel=False)
    return homo, GraphUnit(2 * config.d, config.hetero_hidden, [0, 0, 1, 0, 1, 1], repel=True)


class PlainDMD(nn.Module):
    """The backbone, on exactly ``config.lengths`` steps. ``config`` gives sizes and dropouts; all else is official."""

    def __init__(self, config: DMDConfig, columns: tuple[int, int, int]):
        super().__init__()
        d, self.config = config.d, config
        dropout = dict(zip("lva", config.attention_dropout, strict=True))  # of the source
        self.encoder_c = nn.Conv1d(d, d, 1, bias=False)
        for m, width, kernel, length in zip("lva", columns, config.kernels, config.lengths, strict=True):
            flat = d * (length - kernel + 1)
            self.add_module(f"proj_{m}", nn.Conv1d(width, d, kernel, bias=False))
            self.add_module(f"encoder_s_{m}", nn.Conv1d(d, d, 1, bias=False))
            self.add_module(f"decoder_{m}", nn.Conv1d(2 * d, d, 1, bias=False))
            self.add_module(f"proj_cosine_{m}", nn.Linear(flat, d))
            self.add_module(f"align_c_{m}", nn.Linear(flat, d))
            self.add_module(f"self_attentions_c_{m}", Encoder(d, config.layers, config, dropout[m]))
            for n in "lva".replace(m, ""):
                self.add_module(f"trans_{m}_with_{n}", Encoder(d, config.layers, config, dropout[n]))
            wide = Encoder(2 * d, config.memory_layers, config, config.memory_attention_dropout)
            self.add_module(f"trans_{m}_mem", wide)
            self.add_module(f"weight_{m}", nn.Linear(2 * d, 2 * d))
            self.add_head(f"_{m}_low", flat, d)
            self.add_head(f"_{m}_high", 2 * d, 2 * d)
        self.weight_c = nn.Linear(3 * d, 3 * d)
        self.add_head("_c", 3 * d, 3 * d)
        self.add_head("", 9 * d, 9 * d)

    def add_head(self, suffix: str, width: int, hidden: int) -> None:
        """A residual block and a scalar output."""
        self.add_module(f"proj1{suffix}", nn.Linear(width, hidden))
        self.add_module(f"proj2{suffix}", nn.Linear(hidden, width))
        self.add_module(f"out_layer{suffix}", nn.Linear(width, 1))

    def apply_head(self, suffix: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, width] -> logit [B, 1], x with its residual [B, width], hidden units [B, hidden]."""
        inner, outer, out = (getattr(self, f"{name}{suffix}") for name in ("proj1", "proj2", "out_layer"))
        hidden = inner(x).relu()
        x = outer(F.dropout(hidden, self.config.output_dropout, self.training)) + x
        return out(x), x, hidden

    def forward(self, text: Tensor, vision: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Sequences [B, L_m, columns] -> every tensor by its official name."""
        out, s, c = {}, {}, {}
        for m, x, p in zip("lva", (text, vision, audio), self.config.input_dropout, strict=True):
            private, align = getattr(self, f"encoder_s_{m}"), getattr(self, f"align_c_{m}")
            x = F.dropout(x.transpose(1, 2), p, self.training)
            x = x if x.shape[1] == self.config.d else getattr(self, f"proj_{m}")(x)  # [B, d, T_m], as all here
            specific, common = private(x), self.encoder_c(x)
            again = getattr(self, f"decoder_{m}")(torch.cat([specific, common], dim=1))
            out |= {f"origin_{m}": x, f"recon_{m}": again, f"s_{m}_r": private(again)}
            out[f"c_{m}_sim"] = align(common.flatten(1))  # [B, d]
            s[m] = out[f"s_{m}"] = specific.permute(2, 0, 1).contiguous()  # [T_m, B, d]
            c[m] = out[f"c_{m}"] = common.permute(2, 0, 1).contiguous()
            out[f"proj_s_{m}"] = getattr(self, f"proj_cosine_{m}")(s[m].transpose(0, 1).flatten(1))  # used by nothing

        fused = []
        for m, first, second in ("l", "a", "v"), ("v", "l", "a"), ("a", "l", "v"):
            flat = c[m].transpose(0, 1).flatten(1)  # [B, T_m * d]
            out[f"logits_{m}_homo"], _, out[f"repr_{m}_homo"] = self.apply_head(f"_{m}_low", flat)
            crossed = [getattr(self, f"trans_{m}_with_{n}")(s[m], s[n]) for n in (first, second)]
            h = out[f"last_h_{m}"] = getattr(self, f"trans_{m}_mem")(torch.cat(crossed, dim=2))[-1]  # [B, 2d]
            out[f"logits_{m}_hetero"], out[f"repr_{m}_hetero"], _ = self.apply_head(f"_{m}_high", h)
            fused.append(getattr(self, f"weight_{m}")(h).sigmoid())
        attended = torch.cat([getattr(self, f"self_attentions_c_{m}")(c[m])[-1] for m in "lva"], dim=1)  # [B, 3d]
        out["logits_c"] = self.apply_head("_c", attended)[0]
        fused.append(self.weight_c(attended).sigmoid())
        return out | {"output_logit": self.apply_head("", torch.cat(fused, dim=1))[0]}


def plain_losses(
    homo_unit: GraphUnit, hetero_unit: GraphUnit, output: dict[str, Tensor], labels: Tensor
) -> dict[str, Tensor]:
    """Every term by its official name, of an output and labels [B]; ``combined_loss`` is what is minimised."""

    def three(name: str) -> Tensor:
        return torch.stack([output[name.format(m)] for m in "lva"])

    errors = {n: F.l1_loss(x.squeeze(1), labels) for n, x in output.items() if n.startswith(("logits_", "output_"))}
    losses = {"loss_task_all": errors["output_logit"], "loss_task_c": errors["logits_c"]}
    losses["loss_task"] = sum(errors.values())
    losses["loss_recon"] = sum(F.mse_loss(output[f"recon_{m}"], output[f"origin_{m}"]) for m in "lva")
    losses["loss_s_sr"] = sum(F.mse_loss(output[f"s_{m}"].permute(1, 2, 0), output[f"s_{m}_r"]) for m in "lva")
    # over the batch, for each step and channel
    losses["loss_ort"] = sum(cosine(output[f"s_{m}"], output[f"c_{m}"], dim=1).relu().mean() for m in "lva")
    losses["loss_sim"] = margin_loss(three("c_{}_sim"), labels)
    for space, unit in ("homo", homo_unit), ("hetero", hetero_unit):
        edges, regularisation, logit, representation = unit(three(f"logits_{{}}_{space}"), three(f"repr_{{}}_{space}"))
        losses |= {f"edges_{space}": edges, f"loss_reg_{space}": regularisation, f"loss_logit_{space}": logit,
                   f"loss_repr_{space}": representation}  # fmt: skip
        added = logit + representation if space == "hetero" else logit
        losses[f"graph_distill_loss_{space}"] = 0.05 * (regularisation + added)
    decoupling = losses["loss_s_sr"] + losses["loss_recon"] + 0.1 * (losses["loss_sim"] + losses["loss_ort"])
    distillation = losses["graph_distill_loss_homo"] + losses["graph_distill_loss_hetero"]
    return losses | {"combined_loss": losses["loss_task"] + distillation + 0.1 * decoupling}


def margin_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    """vectors [3, B, d]: every anchor's hinge, over all pairs of an equal and an unequal label, of any modality."""
    x = vectors.transpose(0, 1).flatten(0, 1)  # [3B, d]
    x = x / (x.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
    similar = x @ x.T  # [3B, 3B]
    labels = labels.repeat_interleave(3)
    distance = (labels[:, None] - labels).abs()
    positive = (distance == 0).fill_diagonal_(False)
    pairs = positive[:, :, None] & (distance > 0)[:, None, :]  # [anchor, positive, negative]
    hinges = (0.15 * distance[:, None, :] - similar[:, :, None] + similar[:, None, :]).relu() * pairs
    counts = pairs.sum(dim=(1, 2))
    return (hinges.sum(dim=(1, 2)) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def cosine(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """As in the cosine embedding loss of PyTorch 1.9."""
    norms = (x.square().sum(dim) + 1e-12) * (y.square().sum(dim) + 1e-12)
    return (x * y).sum(dim) / norms.sqrt()


def sinusoids(length: int, width: int) -> Tensor:
    """[length, width]: positions from 1 on, sines first and then cosines."""
    frequencies = torch.logspace(0, -4, width // 2)  # from 1 to 1 / 10000
    angles = torch.arange(1, length + 1)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
