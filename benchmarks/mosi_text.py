"""CMU-MOSI from its words alone: real labels, the official split, GloVe 840B vectors; vision and audio are absent."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from dmd_model.batch import Samples, Sequences
from dmd_model.fit import SPLITS


def samples(folder: Path) -> dict[str, Samples]:
    """The three splits of ``label.csv``, with the vectors of ``glove_vocab.npz``; words without one are masked."""
    archive = np.load(folder / "glove_vocab.npz", allow_pickle=False)
    rows_of = {str(word): row for row, word in enumerate(archive["words"]) if row > 1}  # 0 and 1 are random vectors
    with (folder / "label.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    return {split: _split([row for row in table if row["mode"] == split], rows_of, archive["vectors"])
            for split in SPLITS}  # fmt: skip


def _split(table: list[dict[str, str]], rows_of: dict[str, int], vectors: np.ndarray) -> Samples:
    words = [row["text"].lower().split() for row in table]
    rows = np.array([rows_of.get(word, -1) for sentence in words for word in sentence])
    text = Sequences(
        np.where(rows[:, None] >= 0, vectors[rows], 0).astype(np.float32),
        np.concatenate([[0], np.cumsum([len(sentence) for sentence in words])]),
        rows >= 0,
    )
    return Samples(
        tuple(f"{row['video_id']}$_${row['clip_id']}" for row in table),
        np.array([float(row["label"]) for row in table], np.float32),
        text, Sequences.absent(len(table)), Sequences.absent(len(table)),
    )  # fmt: skip
