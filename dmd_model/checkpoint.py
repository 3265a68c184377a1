"""What a run leaves in its folder, and how it is read again.

========================  =====================================================================================
``config.json``           model name, config, protocol, seed, columns, digest of the data, standardiser; written first
``state-*.safetensors``   the two last states of a run that has not ended: enough to go on as if never broken off
``history.json``          one record an epoch
``model.safetensors``     the selected weights
``result.json``           metrics and predictions; written last, so it is there if and only if the run has ended
========================  =====================================================================================

Every file appears whole or not at all. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dmd_model.batch import Standardiser
from dmd_model.model import Model
from dmd_model.model_card import model_card
from dmd_model.registry import configure, model_class
from dmd_model.text_encoder import FineTuned, TextEncoder

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A folder that holds another run, or no run; the message says what differs."""


@dataclass(frozen=True)
class Run:
    """What a run is: all that decides its outcome. ``data`` is a digest of the samples."""

    model: str
    config: Any
    training: Any
    seed: int
    columns: dict[str, tuple[str, ...]]
    data: str
    standardiser: Standardiser
    text_encoder: TextEncoder | None = None

    def build(self) -> Model:
        """The model with the weights that the random state gives it, behind its text encoder if it has one."""
        text, vision, audio = (len(names) for names in self.columns.values())
        if self.text_encoder is None:
            return model_class(self.model)(self.config, (text, vision, audio))
        encoder = self.text_encoder.build()
        return FineTuned(encoder, model_class(self.model)(self.config, (encoder.config.hidden_size, vision, audio)))

    def to_json(self) -> dict[str, Any]:
        arrays = {part: {name: values.tolist() for name, values in getattr(self.standardiser, part).items()}
                  for part in ("means", "scales")}  # fmt: skip
        return {
            "model": self.model, "config": asdict(self.config), "training": asdict(self.training), "seed": self.seed,
            "columns": self.columns, "data": self.data, "standardiser": arrays,
            "text_encoder": self.text_encoder and asdict(self.text_encoder),
        }  # fmt: skip

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Run:
        config, training = configure(record["model"], {**record["config"], **record["training"]})
        arrays = {part: {name: np.array(values, np.float32) for name, values in record["standardiser"][part].items()}
                  for part in ("means", "scales")}  # fmt: skip
        columns = {name: tuple(names) for name, names in record["columns"].items()}
        encoder = TextEncoder(**record["text_encoder"]) if record["text_encoder"] else None
        data, seed = record["data"], record["seed"]
        return cls(record["model"], config, training, seed, columns, data, Standardiser(**arrays), encoder)


def claim(folder: Path, run: Run) -> None:
    """Make ``folder`` the run's own. Raises CheckpointError, and changes nothing, where it holds another run."""
    record = json.loads(json.dumps(run.to_json()))
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
        return
    if differing := list(_differences(read_json(path), record)):
        raise CheckpointError(f"{folder} holds another run, which differs in {', '.join(differing[:8])}: "
                              "train in another folder, or remove this one")  # fmt: skip


def load(folder: Path, device: str | torch.device = "cpu") -> Model:
    """A trained model, in evaluation mode, that knows its ``run`` and, if the folder has one, that run's ``result``.

    Raises CheckpointError where the run in ``folder`` has not ended.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            raise CheckpointError(f"{folder} has no {name}: there is no trained model in it")
    run = Run.from_json(read_json(folder / "config.json"))
    model = run.build()
    try:
        model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / 'model.safetensors'} is not a model of its config.json: {error}") from error
    model.run = run
    if (folder / "result.json").exists():
        model.result = read_json(folder / "result.json")
    return model.to(device).eval()


def write_pretrained(model: Model, folder: Path) -> None:
    """What ``load`` reads, with a model card. Raises CheckpointError for a model that was not trained."""
    if model.run is None:
        raise CheckpointError(f"this {type(model).__name__} was not trained, so nothing can be said of its data: "
                              "load a run with from_pretrained, or train one")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", model.run.to_json())
    save_model(folder, {name: value.detach().cpu() for name, value in model.state_dict().items()})
    if model.result is not None:
        write_json(folder / "result.json", model.result)
    write_bytes(folder / "README.md", model_card(model.run.to_json(), model.result).encode())


def save_model(folder: Path, weights: dict[str, Tensor]) -> None:
    write_bytes(folder / "model.safetensors", safetensors.torch.save(weights))


def save_state(folder: Path, epochs: int, batches: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the state after so many epochs and batches; the one before it is kept, older ones are removed.

    The name carries a digest of the bytes, so that one rename publishes both.
    """
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(tensors, metadata={"state": json.dumps(state)})
    write_bytes(folder / f"state-{epochs:05d}-{batches:07d}-{digest(content)}.safetensors", content)
    for old in _states(folder)[2:]:
        old.unlink()


def last_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest whole checkpoint; a torn one is passed over with a warning."""
    for path in _states(folder):
        if digest(path.read_bytes()) != path.stem.split("-")[3]:
            logger.warning("%s is damaged: going back to the checkpoint before it", path)
            continue
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["state"])
    return None


def remove_states(folder: Path) -> None:
    for path in _states(folder):
        path.unlink()


def environment(device: torch.device) -> dict[str, str]:
    """What a result was computed with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def write_json(path: Path, record: Any) -> None:
    """Numbers that are not finite are written as null, for JSON has none."""
    write_bytes(path, (json.dumps(_finite(record), indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also if the machine loses power."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _states(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def digest(content: bytes) -> str:
    """Names a file by its bytes: 16 hex digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _differences(there: Any, wanted: Any, name: str = "") -> list[str]:
    """Names of the entries in which two JSON records differ."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        return [
            difference
            for key in sorted(set(there) | set(wanted))
            for difference in _differences(there.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
        ]
    if there == wanted:
        return []
    short = not isinstance(there, list) and not isinstance(wanted, list)
    return [f"{name} ({there!r}, not {wanted!r})" if short else name]
