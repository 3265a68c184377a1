"""What was predicted on one video, as files: JSON of everything, and CSV tables a row a segment and a row a word."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.segments import Segment
from tasks.champion import Ensemble
from tasks.evaluate import read_result
from tasks.extract import Step, segment_states
from tasks.files import write_text
from tasks.predict import MODALITIES, Reading
from tasks.prediction_figures import clock, plus_minus, unsigned


@task(cache_policy=NO_CACHE)
def write_prediction(
    store: FeatureStore, steps: Sequence[Step], chosen: Ensemble, reading: Reading, folder: Path
) -> dict[str, Any]:
    """Write ``prediction.json``, ``segments.csv`` and ``words.csv`` in ``folder``; return what the first one holds.

    Every number of a model is a mean over the ensemble's seeds and their standard deviation, which is null (empty in
    the tables) for a single seed: it is not known; a modality that a segment does not have has neither.
    """
    record = {
        "model": _model(chosen),
        "segments": segment_records(reading, store.segments()),
        "lost": _lost(store, steps),
    }
    write_text(folder / "prediction.json", json.dumps(record, indent=1, ensure_ascii=False))
    seeds = {"seeds": len(chosen.seeds)}
    segments = [{key: it for key, it in entry.items() if key != "words"} | seeds for entry in record["segments"]]
    words = [{"segment": entry["id"], **word, **seeds} for entry in record["segments"] for word in entry["words"]]
    write_text(folder / "segments.csv", _table(segments))
    write_text(folder / "words.csv", _table(words))
    create_table_artifact(
        [
            {"segment": entry["id"], "from": entry["start"], "to": entry["end"], "text": entry["text"]}
            | {"sentiment": plus_minus(entry["prediction"])}
            for entry in record["segments"]
        ],
        key="prediction",
        description=f"{chosen.model}, {record['model']['spread']}; a row a segment.",
    )
    return record


def segment_records(reading: Reading, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Every segment that was read, with its words; times are seconds of the video."""
    from dmd_model.graph_distillation import EDGES

    by_id = {str(segment.id): segment for segment in segments}
    data = reading.words
    predictions = spread(reading.predictions)
    occlusion = _named(reading.occlusion, MODALITIES)
    heads = {unit: _named(values, MODALITIES) for unit, values in reading.heads.items()}
    edges = {unit: _named(values, EDGES) for unit, values in reading.edges.items()}
    records = []
    for place, name in enumerate(data.ids):
        segment, rows = by_id[name], range(*data.offsets[place : place + 2])
        last = rows[-1]  # after which the whole segment has been read
        words = [
            {
                "text": data.words[row],
                "start": round(segment.start + data.starts[row], 3),
                "end": round(segment.start + data.ends[row], 3),
                "prediction": predictions[row],
                "occlusion": occlusion[row],
                "heads": {unit: values[row] for unit, values in heads.items()},
            }
            for row in rows
        ]
        records.append(
            {
                "id": segment.id.clip,
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "prediction": predictions[last],
                "heads": {unit: values[last] for unit, values in heads.items()},
                "edges": {unit: values[last] for unit, values in edges.items()},
                "words": words,
            }
        )
    return records


def spread(values: np.ndarray) -> list[dict[str, float | None]]:
    """Mean over seeds and standard deviation of each of [S, N]; None where there is no number, or one seed alone."""
    means = values.mean(axis=0)
    deviations = values.std(axis=0, ddof=1) if len(values) > 1 else np.full_like(means, np.nan)
    return [{"mean": _number(mean), "std": _number(std)} for mean, std in zip(means, deviations, strict=True)]


def _named(values: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of [S, W, K], for each of W the spread of each of the K names."""
    columns = [spread(values[:, :, column]) for column in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _model(chosen: Ensemble) -> dict[str, Any]:
    """Which model, trained on what, and how far it is off on the test split of that."""
    errors = np.array([[read_result(run)["metrics"]["test"]["mae"]] for run in chosen.runs])
    training = json.loads((chosen.runs[0] / "config.json").read_text(encoding="utf-8"))["training"]
    return {
        "name": chosen.model,
        "seeds": list(chosen.seeds),
        "spread": _spread_of(len(chosen.seeds)),
        "runs": [run.name for run in chosen.runs],
        "data": {"tag": chosen.published.tag, "snapshot": chosen.published.snapshot, "text": chosen.text},
        "label_range": training["label_range"],
        "test_mae": spread(errors)[0],
    }


def _spread_of(seeds: int) -> str:
    """What stands after ±."""
    return f"standard deviation over {seeds} seeds" if seeds > 1 else "unknown: it was trained with one seed"


def summary(record: Mapping[str, Any]) -> str:
    """What ``write_prediction`` returned, for people to read in a terminal: a line a segment, then what was lost."""
    model, error = record["model"], record["model"]["test_mae"]
    lines = [f"{model['name']}, scale {model['label_range'][0]:g} to {model['label_range'][1]:g}, off by "
             f"{unsigned(error)} on average on its test split; ± {model['spread']}"]  # fmt: skip
    for entry in record["segments"]:
        span = f"{clock(entry['start'])}–{clock(entry['end'])}"
        lines.append(f"{span:>13}  {plus_minus(entry['prediction'])}  {shorten(entry['text'], 60, placeholder=' …')}")
    lines += [f"{clock(one['start'])}–{clock(one['end'])}  not read: {one['message']}" for one in record["lost"]]
    return "\n".join(lines)


def _lost(store: FeatureStore, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The segments that could not be read, and why."""
    segments = store.segments()
    return [
        {"id": segment.id.clip, "start": round(segment.start, 3), "end": round(segment.end, 3), "text": segment.text,
         "reason": state.reason, "message": state.message}
        for segment, state in zip(segments, segment_states(store, segments, steps), strict=True)
        if state.name != "extracted"
    ]  # fmt: skip


def _table(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV; the columns of what is nested have names joined by dots."""
    rows = [dict(_flat(record)) for record in records]
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _flat(record: Mapping[str, Any], name: str = "") -> list[tuple[str, Any]]:
    return [
        pair
        for key, value in record.items()
        for pair in (_flat(value, f"{name}{key}.") if isinstance(value, Mapping) else [(f"{name}{key}", value)])
    ]
