"""The action units of the Facial Action Coding System that MediaPipe's blendshapes stand for.

These are proxies. A blendshape says how far a face mesh was bent, as a network guesses it; an action unit is the
movement of a muscle, with an intensity that a trained coder gives (Ekman, Friesen and Hager, 2002). The table pairs
them by what they describe. No coder's scores were used, so the values compare one moment of a face with another, not
with coded intensities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.features.columns import Column


@dataclass(frozen=True)
class ActionUnit:
    """One action unit and how it follows from blendshapes: by the ``rule`` of that name over all of them."""

    number: int
    meaning: str
    blendshapes: tuple[str, ...]
    rule: str = "mean"

    @property
    def column(self) -> Column:
        return Column(f"AU{self.number}", "", f"{self.rule} of {', '.join(self.blendshapes)}", self.meaning, (0, 1))


def _both(name: str) -> tuple[str, str]:
    return f"{name}Left", f"{name}Right"


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda shapes: shapes.mean(axis=-1),
    "least": lambda shapes: shapes.min(axis=-1),
    "greatest": lambda shapes: shapes.max(axis=-1),
    "difference": lambda shapes: np.maximum(shapes[..., 0] - shapes[..., 1], 0),
}
"""From values [..., blendshapes of the unit] to the unit's, [...]; a difference ends at 0."""

ACTION_UNITS = (
    ActionUnit(1, "inner brow raiser", ("browInnerUp",)),
    ActionUnit(2, "outer brow raiser", _both("browOuterUp")),
    ActionUnit(4, "brow lowerer", _both("browDown")),
    ActionUnit(5, "upper lid raiser", _both("eyeWide")),
    ActionUnit(6, "cheek raiser", _both("cheekSquint")),
    ActionUnit(7, "lid tightener", _both("eyeSquint")),
    ActionUnit(9, "nose wrinkler", _both("noseSneer")),
    ActionUnit(10, "upper lip raiser", _both("mouthUpperUp")),
    ActionUnit(12, "lip corner puller", _both("mouthSmile")),
    ActionUnit(14, "dimpler", _both("mouthDimple")),
    ActionUnit(15, "lip corner depressor", _both("mouthFrown")),
    ActionUnit(17, "chin raiser", ("mouthShrugLower",)),
    ActionUnit(18, "lip pucker", ("mouthPucker",)),
    ActionUnit(20, "lip stretcher", _both("mouthStretch")),
    # No blendshape narrows the lips. Rolling one of them in comes nearest; a suck takes both.
    ActionUnit(23, "lip tightener", ("mouthRollLower", "mouthRollUpper"), "greatest"),
    ActionUnit(24, "lip pressor", _both("mouthPress")),
    ActionUnit(25, "lips part", ("jawOpen", "mouthClose"), "difference"),
    ActionUnit(26, "jaw drop", ("jawOpen",)),
    ActionUnit(28, "lip suck", ("mouthRollLower", "mouthRollUpper"), "least"),
    ActionUnit(43, "eyes closed", _both("eyeBlink")),
)


def action_units(values: np.ndarray, blendshapes: Sequence[str]) -> np.ndarray:
    """The units' values [F, 20] of blendshapes [F, B], which ``blendshapes`` names."""
    places = {name: place for place, name in enumerate(blendshapes)}
    return np.stack(
        [RULES[unit.rule](values[:, [places[name] for name in unit.blendshapes]]) for unit in ACTION_UNITS], axis=1
    )
