"""Evaluation: the results table says what the runs wrote, and holds them against the mean of the training labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from tasks.evaluate import METRICS, Row, compare_with, ensembles, evaluate, mean_predictor, write_results
from tests.tasks.labelled_data import labelled_data, publish

TEST = {"mae": 1.0, "corr": 0.5, "acc7": 0.4, "acc5": 0.45, "acc2_nonzero": 0.8, "f1_nonzero": 0.79}
TEST |= {"acc2_haszero": 0.75, "f1_haszero": 0.74}
pytestmark = pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")


def finished(folder: Path, model: str, seed: int, **test: float | None) -> Path:
    """A folder as a finished training leaves it, as far as the table reads it."""
    path = folder / f"{model}{seed}"
    path.mkdir()
    record = {"model": model, "seed": seed, "metrics": {"test": TEST | test}, "parameters": 7, "seconds": 2.0 * seed}
    (path / "result.json").write_text(json.dumps(record))
    return path


def test_a_row_a_model_with_mean_and_deviation_over_its_seeds(prefect_server, tmp_path):
    store, published = publish(tmp_path, labelled_data())
    runs = [
        finished(tmp_path, "dmd", 1, mae=0.8),
        finished(tmp_path, "other", 1),
        finished(tmp_path, "dmd", 2, mae=1.2),
    ]
    baseline, dmd, other = evaluate.fn(store, published, runs, "MOSI-mine")
    assert (baseline.model, dmd.model, other.model) == ("mean of training labels", "dmd", "other")
    assert (dmd.runs, other.runs) == (2, 1)
    assert dmd.mean == pytest.approx(TEST) and other.mean == pytest.approx(TEST)
    assert dmd.std["mae"] == pytest.approx(0.4 / np.sqrt(2))  # of a sample, not of a population
    assert dmd.cell("mae") == "1.000 ± 0.283" and dmd.cell("acc7") == "40.0 ± 0.0"
    assert other.cell("mae") == "1.000" and other.cell("f1_nonzero") == "79.0"
    assert (dmd.parameters, dmd.seconds, other.seconds, baseline.parameters) == (7, 3, 2, 0)
    assert [(found.acc7, found.acc2, found.f1) for found in dmd.published] == [(41.4, 84.5, 84.4), (45.6, 86.0, 86.0)]
    assert not other.published and not baseline.published
    with get_client(sync_client=True) as client:
        tables = [
            json.loads(found.data)
            for found in client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
            if found.key == "results"
        ]
    assert any([row["model"] for row in table] == ["mean of training labels", "dmd", "other"] for table in tables)
    assert any(row.get("MAE") == "1.000 ± 0.283" for table in tables for row in table)


def test_a_metric_that_is_not_defined_is_a_dash(prefect_server, tmp_path):
    store, published = publish(tmp_path, labelled_data())
    baseline, dmd = evaluate.fn(store, published, [finished(tmp_path, "dmd", 1, corr=None)], "mine")
    assert dmd.cell("corr") == baseline.cell("corr") == "–"


def test_the_mean_predictor_knows_the_training_labels_alone(tmp_path):
    data = labelled_data()
    store, published = publish(tmp_path, data)
    row = mean_predictor(store, published)
    labelled = np.isfinite(data.labels)
    train, test = (data.labels[(np.array(data.splits) == split) & labelled] for split in ("train", "test"))
    assert row.mean["mae"] == pytest.approx(np.abs(test - train.mean()).mean())
    assert row.mean["acc2_haszero"] == pytest.approx(np.mean((test >= 0) == (train.mean() >= 0)))
    assert row.runs == 1


def test_nothing_trained_is_no_table(tmp_path):
    store, published = publish(tmp_path, labelled_data())
    assert evaluate.fn(store, published, [], "mine") == []


def test_every_metric_has_a_cell():
    row = Row("dmd", 3, TEST, dict.fromkeys(TEST, 0.1))
    assert METRICS.keys() == TEST.keys() and all("±" in row.cell(metric) for metric in METRICS)


def predicted(model: str, *values: float) -> dict:
    """A result that says these about segments a, b, c, …"""
    return {"model": model, "predictions": {"test": dict(zip("abcdef", values, strict=False))}}


def test_an_ensemble_is_the_mean_of_a_models_runs_segment_by_segment():
    shuffled = {"model": "dmd", "predictions": {"test": {"b": 4.0, "a": 2.0}}}
    assert ensembles([predicted("dmd", 0, 1), predicted("lmf", 5, 6), shuffled]) == {
        "dmd": {"a": 1.0, "b": 2.5},
        "lmf": {"a": 5.0, "b": 6.0},
    }


def test_models_are_compared_with_the_reference_by_the_errors_of_their_ensembles():
    labels = dict(zip("abcdef", np.zeros(6), strict=True))
    results = [predicted("dmd", *[0.5] * 6), predicted("dmd", *[-0.5] * 6), predicted("same", *[0] * 6)]
    results += [predicted("worse", 1, -1, 1, -1, 1, -1)]
    same, worse = compare_with("dmd", results, labels)
    assert (same.model, same.mae, same.difference, same.p, same.p_holm) == ("same", 0, 0, 1, 1)
    assert (worse.model, worse.mae, worse.difference) == ("worse", 1, 1) and worse.low == worse.high == 1
    assert worse.p_holm == pytest.approx(2 * worse.p) and worse.p < 0.001


def test_one_model_alone_is_compared_with_none():
    assert compare_with("dmd", [predicted("dmd", 1, 2)], {"a": 1.0, "b": 1.0}) == []


def test_scripts_get_numbers_with_null_where_a_metric_is_not_defined(prefect_server, tmp_path):
    store, published = publish(tmp_path, labelled_data())
    rows = evaluate.fn(store, published, [finished(tmp_path, "dmd", 1, corr=None)], "mosi")
    found = json.loads(write_results(rows, published, "mosi", tmp_path / "results.json").read_text())
    assert found["dataset"] == "mosi" and found["published"]["snapshot"] == published.snapshot
    baseline, dmd = found["models"]
    assert baseline["model"] == "mean of training labels" and baseline["mean"]["corr"] is None
    assert dmd["mean"] == {**TEST, "corr": None} and dmd["parameters"] == 7 and dmd["published"]
