"""What this machine has, lacks and would use."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from tasks import assets

LIBRARIES = ("torch", "transformers", "mediapipe", "librosa", "pocketsphinx", "dask", "prefect", "icechunk", "zarr",
             "great-expectations", "piper-tts")  # fmt: skip


def examine() -> str:
    """Machine, libraries and model files, a line each. Nothing is fetched."""
    import torch

    device = f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "CPU"
    lines = [
        f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, training on the {device}",
        "",
        *(f"  {name:<20} {_version(name)}" for name in LIBRARIES),
        "",
        f"Model files (cache: {assets.cache_folder()}; a folder of your own: DMD_ASSETS)",
    ]
    for row in assets.report():
        where = "here:" if row.state == "present" else f"{row.state}, would come from:"
        lines.append(f"  {row.name:<20} {row.size / 1e6:6.1f} MB  sha256 {row.sha256[:12]}…  {where} {row.place}")
    encoder = (
        "bert-base-uncased"
        if assets.located("bert-base-uncased")
        else "all-MiniLM-L6-v2 (unless the former can be had)"
    )
    lines += ["", f"Text encoder: {encoder}"]
    return "\n".join(lines)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
