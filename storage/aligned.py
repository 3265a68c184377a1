"""How a data set, word-aligned or not, lies in a Zarr group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import zarr

from storage import arrays
from storage.schema import AlignedDataset, StoreError

TEXTS = ("ids", "videos", "splits", "words")
NUMBERS = {"labels": np.float32, "offsets": np.int64, "starts": np.float64, "ends": np.float64}


def create(group: zarr.Group, dataset: AlignedDataset, attributes: Mapping[str, object]) -> None:
    """Write a data set into an empty group."""
    named = {name: list(names) for name, names in dataset.columns.items()}
    group.update_attributes({"columns": named, "sha256": digest(dataset), **attributes})
    arrays.create(group, _arrays(dataset))


def read(group: zarr.Group) -> AlignedDataset:
    """Raises StoreError where it is not the data set that was written."""
    named = {name: tuple(names) for name, names in group.attrs["columns"].items()}
    unaligned = [name for name in named if "offsets" in group[f"features/{name}"]]
    dataset = AlignedDataset(
        **{name: tuple(group[name][:].tolist()) for name in TEXTS},
        **{name: group[name][:] for name in NUMBERS},
        features={name: group[f"features/{name}/values"][:] for name in named},
        masks={name: group[f"features/{name}/mask"][:] for name in named},
        columns=named,
        frame_offsets={name: group[f"features/{name}/offsets"][:] for name in unaligned},
        frame_times={name: group[f"features/{name}/times"][:] for name in unaligned},
    )
    if digest(dataset) != group.attrs["sha256"]:
        raise StoreError("damaged", f"{group.path}: the data set is not the one that was written")
    return dataset


def digest(dataset: AlignedDataset) -> str:
    """Of every number, word and name in the data set."""
    return arrays.digest(_arrays(dataset), {name: list(names) for name, names in dataset.columns.items()})


def _arrays(dataset: AlignedDataset) -> dict[str, np.ndarray]:
    found = {name: arrays.text(getattr(dataset, name)) for name in TEXTS}
    found |= {name: np.asarray(getattr(dataset, name), dtype) for name, dtype in NUMBERS.items()}
    for name, values in dataset.features.items():
        found[f"features/{name}/values"] = np.asarray(values, np.float32)
        found[f"features/{name}/mask"] = np.asarray(dataset.masks[name], bool)
    for name, offsets in dataset.frame_offsets.items():
        found[f"features/{name}/offsets"] = np.asarray(offsets, np.int64)
        found[f"features/{name}/times"] = np.asarray(dataset.frame_times[name], np.float64)
    return found
