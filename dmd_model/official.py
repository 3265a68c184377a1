"""Weights of the official implementation (mdswyz/DMD), by their names.

The official backbone is one module for each encoder and head; here encoders are stacked in banks. The table below says
where each official tensor lies in a ``dmd_model.dmd.DMD`` of the official preset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dmd_model.dmd import CROSS, DMD
from dmd_model.transformer import EncoderBank

_LETTERS = "lva"
# Weights that the official code never uses, and constants of its encoders.
_UNUSED = ("proj_cosine_", "text_model.")
_CONSTANTS = (".version", ".embed_positions._float_tensor")

Take = Callable[[Tensor], Tensor]


def official_parameters(model: DMD) -> dict[str, tuple[nn.Parameter, Take]]:
    """Official name -> our parameter, and how to cut the official tensor out of it (or out of its gradient)."""
    return dict(_backbone(model))


def official_unit_parameters(unit: nn.Module) -> dict[str, nn.Parameter]:
    """The same for a graph distillation unit, whose tensors have the shapes of the official ones."""
    modules = {"W_logit": unit.embed_logit, "W_repr": unit.embed_representation, "W_edge": unit.edge}
    return {f"{name}.{part}": getattr(module, part) for name, module in modules.items() for part in ("weight", "bias")}


def from_official_state_dict(model: DMD, state: Mapping[str, Tensor]) -> None:
    """Copy an official backbone checkpoint into ``model`` (of the official preset, without its two units).

    Raises ValueError that lists names that are missing or not known, and shapes that differ; then nothing is changed.
    """
    places = official_parameters(model)
    unused = (*_UNUSED, *_unprojected(model))
    given = {
        name: value for name, value in state.items() if not name.startswith(unused) and not name.endswith(_CONSTANTS)
    }
    if missing := sorted(set(places) - set(given)):
        raise ValueError(
            f"not an official checkpoint of this config: {len(missing)} tensors are missing, {missing[:5]}"
        )
    if unknown := sorted(set(given) - set(places)):
        raise ValueError(f"not an official checkpoint of this config: {len(unknown)} unknown tensors, {unknown[:5]}")
    for name, (parameter, take) in places.items():
        if given[name].shape != take(parameter).shape:
            raise ValueError(
                f"{name} has shape {tuple(given[name].shape)}; this config has {tuple(take(parameter).shape)}"
            )
    with torch.no_grad():
        for name, (parameter, take) in places.items():
            take(parameter).copy_(given[name])


def load_official(model: DMD, path: Path) -> None:
    """Copy an official ``.pth`` file into ``model``; a file that holds anything but tensors is refused."""
    from_official_state_dict(model, torch.load(path, map_location="cpu", weights_only=True))


def _unprojected(model: DMD) -> Iterator[str]:
    """Projections that an official checkpoint holds, but that its forward pass skips, as ours has none."""
    for letter, projection in zip(_LETTERS, model.decoupling.projection.convolutions, strict=True):
        if not isinstance(projection, nn.Conv1d):
            yield f"proj_{letter}."


def _backbone(model: DMD) -> Iterator[tuple[str, tuple[nn.Parameter, Take]]]:
    decoupling = model.decoupling
    for m, letter in enumerate(_LETTERS):
        if isinstance(decoupling.projection.convolutions[m], nn.Conv1d):
            yield f"proj_{letter}.weight", (decoupling.projection.convolutions[m].weight, _whole)
        yield f"encoder_s_{letter}.weight", (decoupling.private, _kernel(m))
        yield f"decoder_{letter}.weight", (decoupling.decoder, _kernel(m))
        yield from _linear(f"align_c_{letter}", model.align[m])
        yield from _head((f"proj1_{letter}_low", f"proj2_{letter}_low", f"out_layer_{letter}_low"), model.homo_heads[m])
        yield from _head((f"proj1_{letter}_high", f"proj2_{letter}_high", f"out_layer_{letter}_high"),
                         model.hetero_heads[m])  # fmt: skip
        yield from _encoder(f"self_attentions_c_{letter}", model.streams, m)
        yield from _encoder(f"trans_{letter}_mem", model.memories, m)
    yield "encoder_c.weight", (decoupling.shared, lambda tensor: tensor.unsqueeze(-1))
    for stream, (target, source) in enumerate(CROSS, start=3):
        yield from _encoder(f"trans_{_LETTERS[target]}_with_{_LETTERS[source]}", model.streams, stream)
    for letter, weight in zip("lvac", model.fusion_weights, strict=True):
        yield from _linear(f"weight_{letter}", weight)
    yield from _head(("proj1_c", "proj2_c", "out_layer_c"), model.common_head)
    yield from _head(("proj1", "proj2", "out_layer"), model.fusion_head)


def _encoder(name: str, bank: EncoderBank, stream: int) -> Iterator[tuple[str, tuple[nn.Parameter, Take]]]:
    take = _stream(stream)
    for number, layer in enumerate(bank.layers):
        at = f"{name}.layers.{number}"
        yield f"{at}.self_attn.in_proj_weight", (layer.qkv.weight, take)
        yield f"{at}.self_attn.in_proj_bias", (layer.qkv.bias, take)
        for ours, theirs in (
            (layer.attention_out, "self_attn.out_proj"), (layer.expand, "fc1"), (layer.contract, "fc2"),
            (layer.attention_norm, "layer_norms.0"), (layer.feedforward_norm, "layer_norms.1"),
        ):  # fmt: skip
            yield f"{at}.{theirs}.weight", (ours.weight, take)
            yield f"{at}.{theirs}.bias", (ours.bias, take)
    yield f"{name}.layer_norm.weight", (bank.final_norm.weight, take)
    yield f"{name}.layer_norm.bias", (bank.final_norm.bias, take)


def _head(names: tuple[str, str, str], head: nn.Module) -> Iterator[tuple[str, tuple[nn.Parameter, Take]]]:
    for name, module in zip(names, (head.inner, head.outer, head.out), strict=True):
        yield from _linear(name, module)


def _linear(name: str, module: nn.Linear) -> Iterator[tuple[str, tuple[nn.Parameter, Take]]]:
    yield f"{name}.weight", (module.weight, _whole)
    yield f"{name}.bias", (module.bias, _whole)


def _whole(tensor: Tensor) -> Tensor:
    return tensor


def _stream(index: int) -> Take:
    return lambda tensor: tensor[index]


def _kernel(index: int) -> Take:
    return lambda tensor: tensor[index].unsqueeze(-1)  # a convolution of width 1
