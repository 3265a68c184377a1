"""What this machine has, lacks and would use."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks import assets

LIBRARIES = ("torch", "transformers", "mediapipe", "librosa", "pocketsphinx", "dask", "prefect", "icechunk", "zarr",
             "great-expectations", "piper-tts")  # fmt: skip


def examine() -> dict[str, Any]:
    """Machine, libraries (None: not installed) and model files, as JSON can hold them. Nothing is fetched."""
    import torch

    return {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "device": f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "CPU",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "model_folder": str(assets.cache_folder()),
        "model_files": [asdict(row) for row in assets.report()],
        "text_encoder": "bert-base-uncased" if assets.located("bert-base-uncased") else "all-MiniLM-L6-v2",
    }


def describe(found: Mapping[str, Any]) -> str:
    """What was found, a line each."""
    lines = [
        f"Python {found['python']}, {found['cores']} cores, training on the {found['device']}",
        "",
        *(f"  {name:<20} {number or 'not installed'}" for name, number in found["libraries"].items()),
        "",
        f"Model files (cache: {found['model_folder']}; a folder of your own: DMD_ASSETS)",
    ]
    for file in found["model_files"]:
        where = "here:" if file["state"] == "present" else f"{file['state']}, would come from:"
        size, sha256 = f"{file['size'] / 1e6:6.1f} MB", f"sha256 {file['sha256'][:12]}…"
        lines.append(f"  {file['name']:<20} {size}  {sha256}  {where} {file['place']}")
    unless = "" if found["text_encoder"] == "bert-base-uncased" else " (unless bert-base-uncased can be had)"
    return "\n".join([*lines, "", f"Text encoder: {found['text_encoder']}{unless}"])


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
