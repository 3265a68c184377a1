"""What the report says of the data: funnel, splits and features, word alignment, one segment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prefect.artifacts import create_table_artifact

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset
from storage.segments import Segment
from tasks import funnel
from tasks.extract import Step, segment_states
from tasks.features import media
from tasks.figures import data as figures
from tasks.labels import SPLITS
from tasks.transcribe import Transcriber

FACES = 10
TRACKS_PER_FEATURE = 4


def dataset_section(data: AlignedDataset, store: FeatureStore, dataset: str) -> dict[str, Any]:
    """How many segments and words of which split and label, and what each feature measured."""
    splits, videos, lengths = np.array(data.splits), np.array(data.videos), np.diff(data.offsets)
    counts = []
    for split in dict.fromkeys((*(name for name in SPLITS if name in data.splits), *data.splits)):
        among = splits == split
        labels = data.labels[among & np.isfinite(data.labels)]
        counts.append(
            {
                "split": split or "none",
                "segments": int(among.sum()),
                "videos": len(set(videos[among])),
                "words": int(lengths[among].sum()),
                "negative": int((labels < 0).sum()),
                "zero": int((labels == 0).sum()),
                "positive": int((labels > 0).sum()),
                "mean label": f"{labels.mean():+.2f}" if len(labels) else "",
            }
        )
    create_table_artifact(counts, key="dataset", description="Segments and words by split.")
    fingerprints = store.recipe("aligned", dataset).get("features", {})  # an imported data set has none
    features = [
        {
            "name": name,
            "columns": values.shape[1],
            "rows": "pieces" if name == "pieces" else "frames" if name in data.frame_offsets else "words",
            "measured": float(data.masks[name].mean()) if len(values) else 0.0,
            "recipe": json.dumps(store.recipe(name, fingerprints[name])) if name in fingerprints else "imported",
        }
        for name, values in data.features.items()
    ]
    labelled = np.isfinite(data.labels)
    return {
        "total": {"segments": len(data.ids), "videos": len(set(data.videos)), "words": len(data.words)},
        "splits": counts,
        "features": features,
        "errata": (store.aligned_source(dataset) or store.source()).get("errata", ()),
        "labels": figures.labels(data.labels[labelled], splits[labelled]) if labelled.any() else "",
        "lengths": figures.lengths(lengths) if data.ids else "",
    }


def dataset_notes(data: AlignedDataset, store: FeatureStore, steps: Sequence[Step]) -> list[str]:
    """What a reader should know before the figures."""
    notes = []
    if source := store.source():
        notes.append(f"Raw data: layout {source['layout']}, rows of {source['labels']}, splits by {source['splits']}.")
    if source.get("untold"):
        notes.append(
            f"{source['untold']} segments came without a text: what is said in them is what "
            f"{Transcriber().model} heard (faster-whisper), not a transcript by people."
        )
    if not np.isfinite(data.labels).any():
        notes.append("The data set has no labels, so nothing is trained on it.")
    encoders = [store.recipe("bert", step.fingerprint)["encoder"] for step in steps if step.name == "bert"]
    if encoders and encoders[0] != "bert-base-uncased":
        notes.append(f"The text encoder is {encoders[0]}; the paper's is bert-base-uncased.")
    return notes


def funnel_section(store: FeatureStore, steps: Sequence[Step]) -> dict[str, Any]:
    """How many rows of the labels reach each stage, and why the others do not."""
    segments = store.segments()
    states = segment_states(store, segments, steps)
    found = funnel.make_funnel(segments, states)
    create_table_artifact([{"stage": stage, "segments": n} for stage, n in found.reached.items()], key="funnel")
    return {
        "funnel": figures.funnel([(f"{stage}: {funnel.STAGES[stage]}", n) for stage, n in found.reached.items()]),
        "losses": [{"count": n, "stage": stage, "reason": why} for (stage, why), n in found.lost.most_common()],
        "lost": [
            {"id": str(segment.id), "row": segment.row, "reason": state.reason, "message": state.message}
            for segment, state in zip(segments, states, strict=True)
            if state.reason
        ],
    }


def boundaries_section(errors: np.ndarray) -> dict[str, Any]:
    """How far forced word boundaries lie from the true ones, where those are known; ``errors`` in seconds."""
    if not len(errors):
        return {}
    milliseconds = 1000 * np.abs(errors)
    return {
        "boundary_errors": figures.boundary_errors(np.abs(errors)),
        "boundaries": {
            "count": len(errors),
            "median": float(np.median(milliseconds)),
            "p90": float(np.percentile(milliseconds, 90)),
            "within_50": 100 * float((milliseconds <= 50).mean()),
        },
    }


def example_section(data: AlignedDataset, segments: Sequence[Segment], raw: Path) -> dict[str, Any]:
    """One segment of the test split (or the first one) with its faces, sound, words and strongest feature columns."""
    place = next((i for i, split in enumerate(data.splits) if split == "test"), 0)
    segment = next(segment for segment in segments if str(segment.id) == data.ids[place])
    path = raw / segment.media
    waveform = media.waveform(raw / (segment.sound or segment.media), segment.start, segment.end)
    seconds = len(waveform) / media.SAMPLE_RATE
    pictures = list(media.frames(path, segment.start, segment.end, frames_per_second=FACES / seconds))
    rows = slice(data.offsets[place], data.offsets[place + 1])
    words = list(zip(data.words[rows], data.starts[rows], data.ends[rows], strict=True))
    return {
        "example": {
            "id": data.ids[place],
            "text": " ".join(data.words[rows]),
            "rows": "frame" if "vision" in data.frame_offsets else "word",
            "label": float(data.labels[place]) if np.isfinite(data.labels[place]) else None,
        },
        "example_segment": figures.aligned_segment(
            waveform, media.SAMPLE_RATE, pictures[:FACES], words, _tracks(data, place)
        ),
    }


def _tracks(data: AlignedDataset, place: int) -> dict[str, figures.Track]:
    """Of one segment's face and voice, the columns that vary most for their range, scaled to [0, 1]."""
    tracks = {}
    for name in ("vision", "audio"):
        values, measured = data.features[name], data.masks[name]
        low, high = np.percentile(values[measured], (2, 98), axis=0)
        scaled = np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1)
        scaled[~measured] = np.nan
        spread = np.where(high > low, np.nanstd(scaled, axis=0), 0)
        rows = slice(*data.feature_offsets(name)[place : place + 2])
        starts, ends = _times(data, name, rows)
        for column in np.argsort(-spread)[:TRACKS_PER_FEATURE]:
            tracks[data.columns[name][column]] = figures.Track(starts, ends, scaled[rows, column])
    return tracks


def _times(data: AlignedDataset, name: str, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """When the words, or the frames of an unaligned feature, start and end; a frame lasts until the next one."""
    if name not in data.frame_offsets:
        return data.starts[rows], data.ends[rows]
    starts = data.frame_times[name][rows]
    hop = np.median(np.diff(starts)) if len(starts) > 1 else 0.0
    return starts, np.append(starts[1:], starts[-1:] + hop)
