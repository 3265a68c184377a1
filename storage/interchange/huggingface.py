"""Data sets as a folder that Hugging Face's ``datasets`` loads: Parquet files, a row a segment, and a card."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.interchange.padded import SEPARATOR
from storage.schema import AlignedDataset, StoreError, join

ROWS = 1000
"""Segments in a row group."""
CARD = """---
configs:
- config_name: default
  data_files:
{files}
task_categories:
- video-classification
tags:
- multimodal
- sentiment
---
# {name}

{segments} segments of {videos} videos, {words} words. One row is one segment: `id` (`video{separator}clip`), `label`
(NaN where there is none), `words` with their `starts` and `ends` (seconds from the segment's start, NaN where unknown),
and for each feature its values, `<feature>_mask` (false where nothing was measured) and, where it has frames of its own
instead of a row a word, `<feature>_times`. `position` is the segment's place over all splits.

| feature | columns | rows |
|---|---|---|
{features}
"""
HF_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
"""How Hugging Face calls the splits, in the order in which they are written."""
COLUMNS = b"columns"
"""Key of the names of each feature's columns, as JSON, in a file's metadata."""


def write_huggingface(dataset: AlignedDataset, path: Path, text: str) -> None:
    """Write a folder, of which ``read_huggingface`` makes the same data set again; features keep their names.

    Raises StoreError on a split with a name that cannot be a file's.
    """
    (path / "data").mkdir(parents=True)
    splits = np.array(dataset.splits, dtype=np.str_)
    files = {}
    for split in dict.fromkeys((*(name for name in HF_SPLITS if name in splits), *splits.tolist())):
        if not re.fullmatch(r"\w+", split):
            raise StoreError("bad_split", f"Hugging Face has no split {split!r}: a name is of letters, digits and _")
        name = HF_SPLITS.get(split, split)
        files[name] = f"data/{name}-00000-of-00001.parquet"
        places = np.flatnonzero(splits == split)
        tables = (_table(dataset, places[first : first + ROWS]) for first in range(0, len(places), ROWS))
        table = next(tables)
        with pq.ParquetWriter(path / files[name], table.schema, compression="zstd") as writer:
            for rows in chain([table], tables):
                writer.write_table(rows)
    (path / "README.md").write_text(_card(dataset, path.name, files), encoding="utf-8")


def read_huggingface(path: Path, text: str) -> AlignedDataset:
    """A data set from the Parquet files of a folder that ``write_huggingface`` made. Raises StoreError."""
    parts, positions = [], []
    for file in sorted((path / "data").glob("*.parquet")):
        try:
            with pq.ParquetFile(file) as source:
                table = source.read()
            parts.append(_dataset(table))
            positions.append(table["position"].to_numpy())
        except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as cause:
            raise StoreError("unreadable", f"{file} has no segments in the form that export writes: {cause}") from cause
    if not parts:
        raise StoreError("unreadable", f"{path} has no data/*.parquet")
    return join(parts).take(np.argsort(np.concatenate(positions)))


def _table(whole: AlignedDataset, places: np.ndarray) -> pa.Table:
    """The segments at these places, a row each."""
    part = whole.take(places)
    columns = {
        "id": pa.array(part.ids, pa.string()),
        "video": pa.array(part.videos, pa.string()),
        "split": pa.array(part.splits, pa.string()),
        "position": pa.array(places.astype(np.int64)),
        "label": pa.array(part.labels.astype(np.float32)),
        "words": _lists(part.offsets, pa.array(part.words, pa.string())),
        "starts": _lists(part.offsets, pa.array(part.starts.astype(np.float64))),
        "ends": _lists(part.offsets, pa.array(part.ends.astype(np.float64))),
    }
    for name, values in part.features.items():
        offsets = part.feature_offsets(name)
        flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
        columns[name] = _lists(offsets, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
        columns[f"{name}_mask"] = _lists(offsets, pa.array(part.masks[name].astype(bool)))
        if name in part.frame_offsets:
            columns[f"{name}_times"] = _lists(offsets, pa.array(part.frame_times[name].astype(np.float64)))
    return pa.table(columns).replace_schema_metadata({COLUMNS: json.dumps(part.columns)})


def _lists(offsets: np.ndarray, values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def _dataset(table: pa.Table) -> AlignedDataset:
    columns = {name: tuple(names) for name, names in json.loads(table.schema.metadata[COLUMNS]).items()}
    unaligned = [name for name in columns if f"{name}_times" in table.column_names]
    return AlignedDataset(
        ids=tuple(table["id"].to_pylist()),
        videos=tuple(table["video"].to_pylist()),
        labels=table["label"].to_numpy(),
        splits=tuple(table["split"].to_pylist()),
        offsets=_offsets(table["words"]),
        words=tuple(_flat(table["words"]).to_pylist()),
        starts=_numbers(table["starts"]),
        ends=_numbers(table["ends"]),
        features={name: _numbers(table[name]).reshape(-1, len(names)) for name, names in columns.items()},
        masks={name: _numbers(table[f"{name}_mask"]) for name in columns},
        columns=columns,
        frame_offsets={name: _offsets(table[name]) for name in unaligned},
        frame_times={name: _numbers(table[f"{name}_times"]) for name in unaligned},
    )


def _offsets(lists: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())]).astype(np.int64)


def _flat(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    while pa.types.is_list(lists.type) or pa.types.is_fixed_size_list(lists.type):
        lists = pc.list_flatten(lists)
    return lists


def _numbers(lists: pa.ChunkedArray) -> np.ndarray:
    return _flat(lists).to_numpy().copy()


def _card(dataset: AlignedDataset, name: str, files: Mapping[str, str]) -> str:
    return CARD.format(
        name=name,
        files="\n".join(f"  - split: {split}\n    path: {file}" for split, file in files.items()),
        segments=len(dataset.ids),
        videos=len(set(dataset.videos)),
        words=len(dataset.words),
        separator=SEPARATOR,
        features="\n".join(
            f"| `{feature}` | {len(columns)} | {'frames' if feature in dataset.frame_offsets else 'words'} |"
            for feature, columns in dataset.columns.items()
        ),
    )
