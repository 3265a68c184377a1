"""CMU-MOSI from its words alone: real labels, the official split; vision and audio are absent.

``python -m benchmarks.mosi_text FOLDER [--bert ENCODER_FOLDER]``; FOLDER has ``label.csv`` and ``glove_vocab.npz``
(words, vectors: GloVe 840B). With ``--bert``, an encoder of the BERT family is fine-tuned with each model instead.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from benchmarks.experiments import SEEDS, Variant, print_table, trained
from dmd_model.batch import PIECES, Samples, Sequences
from dmd_model.registry import MODELS
from dmd_model.splits import SPLITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bert", type=Path, metavar="ENCODER_FOLDER")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    options = parser.parse_args()
    data = word_pieces(options.folder, options.bert) if options.bert else glove(options.folder)
    settings = {"max_epochs": 12, "early_stop": 4} if options.bert else {}
    variants = [Variant(name, name, settings, options.bert) for name in options.models]
    results = trained("mosi-text-bert" if options.bert else "mosi-text", variants, data, SEEDS[: options.seeds])
    print_table(results, data, "mosi")


def glove(folder: Path) -> dict[str, Samples]:
    """The three splits with a GloVe vector for each word; words without one are masked."""
    archive = np.load(folder / "glove_vocab.npz", allow_pickle=False)
    rows_of = {str(word): row for row, word in enumerate(archive["words"]) if row > 1}  # 0 and 1 are random vectors
    vectors = archive["vectors"]

    def text(sentences: list[list[str]]) -> Sequences:
        rows = np.array([rows_of.get(word, -1) for sentence in sentences for word in sentence])
        values = np.where(rows[:, None] >= 0, vectors[rows], 0).astype(np.float32)
        return Sequences(values, _offsets([len(sentence) for sentence in sentences]), rows >= 0)

    return _splits(folder, text)


def word_pieces(folder: Path, encoder: Path) -> dict[str, Samples]:
    """The three splits with the word pieces that the encoder reads."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)

    def text(sentences: list[list[str]]) -> Sequences:
        found = tokenizer(sentences, is_split_into_words=True)
        words = [[0 if word is None else word + 1 for word in found.word_ids(i)] for i in range(len(sentences))]
        rows = np.array([pair for i in range(len(words)) for pair in zip(found["input_ids"][i], words[i], strict=True)])
        return Sequences(rows.astype(np.float32), _offsets(list(map(len, words))), columns=PIECES)

    return _splits(folder, text)


def _splits(folder: Path, text) -> dict[str, Samples]:
    with (folder / "label.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    splits = {}
    for split in SPLITS:
        rows = [row for row in table if row["mode"] == split]
        splits[split] = Samples(
            tuple(f"{row['video_id']}$_${row['clip_id']}" for row in rows),
            np.array([float(row["label"]) for row in rows], np.float32),
            text([row["text"].lower().split() for row in rows]),
            Sequences.absent(len(rows)),
            Sequences.absent(len(rows)),
        )
    return splits


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


if __name__ == "__main__":
    main()
