"""Computational sequences as the SDK writes them, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np


def write_csd(
    path: Path, videos: Mapping[str, tuple[np.ndarray, np.ndarray]], name: str = "acoustic", columns: object = None
) -> Path:
    """``videos`` are (intervals [n, 2], features [n, D]) by name; returns the path."""
    with h5py.File(path, "w") as file:
        file.create_group(f"{name}/data")
        for video, (intervals, features) in videos.items():
            entry = file.create_group(f"{name}/data/{video}")
            entry.create_dataset("intervals", data=intervals, compression="gzip", compression_opts=9)
            entry.create_dataset("features", data=features, compression="gzip", compression_opts=9)
        metadata = file.require_group(f"{name}/metadata")
        metadata["root name"] = np.array([json.dumps(name)], dtype=h5py.string_dtype())
        if columns is not None:
            metadata["dimension names"] = np.array([json.dumps(columns)], dtype=h5py.string_dtype())
    return path
