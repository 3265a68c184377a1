"""Every model by name, one line each: what builds it, its preset, and how it is trained.

A model is an ``nn.Module`` made of ``(config, columns)``; ``forward(batch)`` returns an object with ``prediction`` [B];
``losses(output, labels)`` returns named terms, ``total`` among them; ``fixed_lengths`` is a property, lengths that
every batch must be padded to or None. A config has ``lengths``, the longest sequence of each modality.

PyTorch is imported when a model is built, not when its name is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dmd_model.config import DMDConfig, Training

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entry:
    build: Callable[[Any, tuple[int, int, int]], nn.Module]
    config: Any
    training: Training


def _dmd(config: DMDConfig, columns: tuple[int, int, int]) -> nn.Module:
    from dmd_model.dmd import DMD

    return DMD(config, columns)


MODELS: dict[str, Entry] = {
    "dmd": Entry(_dmd, DMDConfig(), Training()),
    "dmd-official-mosi": Entry(_dmd, DMDConfig.official("mosi"), Training.official()),
    "dmd-official-mosei": Entry(_dmd, DMDConfig.official("mosei"), Training.official()),
}


def configure(name: str, overrides: Mapping[str, object] | None = None) -> tuple[Any, Training]:
    """Config and protocol of a model with some fields changed, by field name; lists stand for tuples, as in JSON.

    Raises ValueError on an unknown model or field, and names those that exist.
    """
    if name not in MODELS:
        raise ValueError(f"no model is named {name!r}; there are {', '.join(MODELS)}")
    entry = MODELS[name]
    changes = {key: _tuples(value) for key, value in (overrides or {}).items()}
    known = [{field.name for field in fields(part)} for part in (entry.config, entry.training)]
    if unknown := sorted(set(changes) - known[0] - known[1]):
        raise ValueError(
            f"{name} has no setting {', '.join(unknown)}; there are {', '.join(sorted(known[0] | known[1]))}"
        )
    return tuple(
        replace(part, **{key: value for key, value in changes.items() if key in names})
        for part, names in zip((entry.config, entry.training), known, strict=True)
    )


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
