"""Models of the Hugging Face layout: by the name of an asset, as a folder of one's own, or by a name on the hub."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from tasks.assets import ASSETS, AssetError, fetch, file_sha256

NEEDED = ("config.json", "model.safetensors")
"""Weights in other formats are not read: they can carry code."""
READ = (
    *NEEDED, "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip
"""What transformers may read of a model."""


@cache
def model_folder(name: str) -> Path:
    """The folder with the model's files. Raises ``AssetError`` where there is none and the hub does not give it."""
    if name in ASSETS:
        return fetch(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(name)
    if absent := [file for file in NEEDED if not (folder / file).is_file()]:
        raise AssetError(f"The model {name} has no {' and no '.join(absent)}: name a folder that has.")
    return folder


@cache
def model_sha256(name: str) -> str:
    """One digest for recipes: over the digests of all files of the model that are read."""
    if name in ASSETS:
        return ASSETS[name].sha256
    paths = [model_folder(name) / file for file in READ]
    found = {path.name: file_sha256(path) for path in paths if path.is_file()}
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(READ)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise AssetError(
            f"The model {name} is no folder here and cannot be had from the hub ({str(error).splitlines()[0]}): put "
            f"{', '.join(NEEDED)} and what goes with them into a folder and name that."
        ) from error
