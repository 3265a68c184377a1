"""What every model of the registry is, and what most of them have in common.

Shapes: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor, nn

from dmd_model.config import Training

if TYPE_CHECKING:
    from dmd_model.checkpoint import Run


@dataclass(frozen=True)
class Output:
    """What a model makes of a batch; models whose losses need more have outputs of their own.

    ``prediction`` [B] is the sentiment.
    """

    prediction: Tensor


class Model(nn.Module, ModelHubMixin):
    """A model of ``(config, columns)``: a frozen dataclass, and how many columns text, vision and audio have.

    ``PRESETS`` maps a preset's name to its config and protocol; the first is the default. ``config.lengths`` are the
    longest sequences of each modality. ``forward(batch)`` gives an ``Output``. ``never_waits``: no value that was
    worked out decides what is done next, and nothing is kept for the next batch: a step can be a CUDA graph. A trained
    model knows its ``run`` and, where its folder has one, that run's ``result``. ``from_pretrained`` takes a folder or
    the name of one on the Hugging Face hub, ``save_pretrained`` writes such a folder.
    """

    PRESETS: ClassVar[dict[str, tuple[Any, Training]]]
    never_waits: ClassVar[bool] = False
    run: Run | None = None
    result: dict[str, Any] | None = None

    @property
    def fixed_lengths(self) -> tuple[int, int, int] | None:
        """Lengths that every batch must be padded to, or None where any will do."""
        return None

    def losses(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named terms, ``total`` among them: here the mean absolute error alone."""
        task = (output.prediction - labels).abs().mean()
        return {"total": task, "task": task}

    def _save_pretrained(self, save_directory: Path) -> None:
        from dmd_model.checkpoint import write_pretrained

        write_pretrained(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, revision: str | None, cache_dir: str | Path | None,
                         force_download: bool, local_files_only: bool, token: str | bool | None,
                         **read: object) -> Model:  # fmt: skip
        """``read`` is what the library found in config.json; ours is read with the weights it belongs to."""
        from dmd_model.checkpoint import CheckpointError, load

        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(snapshot_download(
                model_id, revision=revision, cache_dir=cache_dir, force_download=force_download,
                local_files_only=local_files_only, token=token,
                allow_patterns=["config.json", "model.safetensors", "result.json", "README.md"],
            ))  # fmt: skip
        model = load(folder)
        if not isinstance(model, cls):
            raise CheckpointError(f"{folder} holds a model of class {type(model).__name__}, not {cls.__name__}")
        return model
