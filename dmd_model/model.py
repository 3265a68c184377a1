"""What every model of the registry is, and what most of them have in common.

Shapes: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from dmd_model.config import Training


@dataclass(frozen=True)
class Output:
    """What a model makes of a batch; models whose losses need more have outputs of their own.

    ``prediction`` [B] is the sentiment.
    """

    prediction: Tensor


class Model(nn.Module):
    """A model of ``(config, columns)``: a frozen dataclass, and how many columns text, vision and audio have.

    ``PRESETS`` maps a preset's name to its config and protocol; the first is the default. ``config.lengths`` are the
    longest sequences of each modality. ``forward(batch)`` gives an :class:`Output`.
    """

    PRESETS: ClassVar[dict[str, tuple[Any, Training]]]

    @property
    def fixed_lengths(self) -> tuple[int, int, int] | None:
        """Lengths that every batch must be padded to, or None where any will do."""
        return None

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named terms, ``total`` among them: here the mean absolute error alone."""
        task = (output.prediction - labels).abs().mean()
        return {"total": task, "task": task}
