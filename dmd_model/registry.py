"""Every model by name, one line each; ``name`` is a model with its first preset, ``name@preset`` with another.

What a model is says ``dmd_model.model.Model``. Its module, and PyTorch with it, is imported when the model is
configured, not when its name is looked up.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from dmd_model.config import ABLATIONS

if TYPE_CHECKING:
    from dmd_model.config import Training
    from dmd_model.model import Model

MODELS = {
    "dmd": "dmd_model.dmd:DMD",
    "ef-lstm": "dmd_model.baselines.ef_lstm:EFLSTM",
    "lf-lstm": "dmd_model.baselines.lf_lstm:LFLSTM",
    "tfn": "dmd_model.baselines.tfn:TFN",
    "lmf": "dmd_model.baselines.lmf:LMF",
    "mfm": "dmd_model.baselines.mfm:MFM",
    "raven": "dmd_model.baselines.raven:RAVEN",
    "mctn": "dmd_model.baselines.mctn:MCTN",
    "mult": "dmd_model.baselines.mult:MulT",
    "pmr": "dmd_model.baselines.pmr:PMR",
    "misa": "dmd_model.baselines.misa:MISA",
    "fdmer": "dmd_model.baselines.fdmer:FDMER",
    "mica": "dmd_model.baselines.mica:MICA",
}


def check_name(name: str) -> None:
    """Raises ValueError on a model that there is not; the preset is checked when the model is configured."""
    if name.partition("@")[0] not in MODELS:
        raise ValueError(f"no model is named {name!r}; there are {', '.join(MODELS)}")


def ablation(name: str) -> str:
    """The part of DMD that a model goes without, as the field of its config; "" for a model that is no ablation."""
    model, _, preset = name.partition("@")
    return ABLATIONS.get(preset, "") if model == "dmd" else ""


def configure(name: str, overrides: Mapping[str, object] | None = None) -> tuple[Any, Training]:
    """Config and protocol of a model with some fields changed, by field name; lists stand for tuples, as in JSON.

    Raises ValueError on an unknown model, preset or field, and names those that exist.
    """
    presets = model_class(name).PRESETS
    preset = name.partition("@")[2] or next(iter(presets))
    if preset not in presets:
        raise ValueError(f"{name.partition('@')[0]} has no preset {preset!r}; there are {', '.join(presets)}")
    parts = presets[preset]
    changes = {key: _tuples(value) for key, value in (overrides or {}).items()}
    known = [{field.name for field in fields(part)} for part in parts]
    if unknown := sorted(set(changes) - known[0] - known[1]):
        raise ValueError(
            f"{name} has no setting {', '.join(unknown)}; there are {', '.join(sorted(known[0] | known[1]))}"
        )
    return tuple(
        replace(part, **{key: value for key, value in changes.items() if key in names})
        for part, names in zip(parts, known, strict=True)
    )


def model_class(name: str) -> type[Model]:
    """The class of a model of the registry; raises ValueError on one that there is not."""
    check_name(name)
    module, _, attribute = MODELS[name.partition("@")[0]].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
