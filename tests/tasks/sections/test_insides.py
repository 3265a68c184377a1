"""DMD's insides: what is drawn is what the runs recorded, and what a segment does not have is not drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dmd_model.fit import fit
from dmd_model.inspection import Inspection
from tasks.sections.insides import MOST_SEGMENTS, _accuracies, _drawn, _spaces, edges_section
from tests.dmd_model.made_up import make_samples


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs of a small DMD under the official prior, one an epoch longer."""
    splits = {"train": make_samples(20, 1, "a"), "valid": make_samples(6, 2, "b"), "test": make_samples(5, 3, "c")}
    folders = [tmp_path_factory.mktemp(f"run{epochs}") for epochs in (2, 3)]
    for folder, epochs in zip(folders, (2, 3), strict=True):
        settings = {"d": 8, "heads": 2, "max_epochs": epochs, "edge_prior": "hand_set", "edge_softmax": "joint"}
        fit("dmd", splits, seed=epochs, folder=folder, overrides=settings)
    return folders


def test_edges_are_meaned_over_runs_as_far_as_the_shortest_goes(runs):
    histories = [json.loads((run / "history.json").read_text()) for run in runs]
    section = edges_section(runs)
    numbers = section["edge_curves"].numbers
    assert {record["epoch"] for record in numbers} == {1, 2}
    first = next(r for r in numbers if (r["unit"], r["edge"], r["epoch"]) == ("HeteroGD", "L→V", 2))
    weights = [history[1]["train"]["edges_hetero"][2] for history in histories]
    assert first["mean"] == pytest.approx(np.mean(weights))
    assert (first["lowest"], first["highest"]) == (pytest.approx(min(weights)), pytest.approx(max(weights)))


def test_the_graph_has_the_weights_of_the_kept_epochs_beside_the_official_prior(runs):
    section = edges_section(runs)
    kept = [json.loads((run / "result.json").read_text())["best_epoch"] for run in runs]
    histories = [json.loads((run / "history.json").read_text()) for run in runs]
    found = {(r["unit"], r["weights"], r["edge"]): r["weight"] for r in section["edge_graphs"].numbers}
    learned = [history[epoch - 1]["train"]["edges_homo"][2] for history, epoch in zip(histories, kept, strict=True)]
    assert found["HomoGD", "learned", "L→V"] == pytest.approx(np.mean(learned))
    prior = "this model's prior (hand-set)"
    assert found["HomoGD", prior, "L→V"] == pytest.approx(0.4823, abs=1e-4)  # the published code's own values
    assert found["HeteroGD", prior, "V→A"] == pytest.approx(0.3273, abs=1e-4)
    assert len(found) == 2 * 2 * 6, "no second drawing of the same prior"


def looked(count: int) -> tuple[Inspection, list[str], np.ndarray]:
    """Segments whose parts are random; the first has no face."""
    random = np.random.default_rng(0)
    parts = random.normal(size=(2, 3, count, 4)).astype(np.float32)
    parts[:, 1, 0] = np.nan
    readings = random.normal(size=(2, 3, count)).astype(np.float32)
    readings[:, 1, 0] = np.nan
    edges = np.zeros((6, count), np.float32)
    ids = [f"s{place}" for place in range(count)]
    return Inspection(*parts, *readings, edges, edges), ids, random.integers(-1, 2, count).astype(np.float32)


def test_each_segment_is_a_point_a_modality_that_it_has_in_each_space():
    numbers = _spaces(*looked(12)).numbers
    assert len(numbers) == 2 * (3 * 12 - 1)
    assert {r["modality"] for r in numbers if r["segment"] == "s0"} == {"text", "audio"}
    _, ids, labels = looked(12)
    signs = {
        segment: ("negative", "zero", "positive")[int(np.sign(label)) + 1]
        for segment, label in zip(ids, labels, strict=True)
    }
    assert all(record["sentiment"] == signs[record["segment"]] for record in numbers)


def test_of_many_segments_so_many_are_drawn_and_always_the_same():
    assert _drawn(MOST_SEGMENTS).tolist() == list(range(MOST_SEGMENTS))
    drawn = _drawn(5000)
    assert len(set(drawn)) == MOST_SEGMENTS and drawn.max() > 4000 and (drawn == _drawn(5000)).all()


def test_a_modality_is_scored_on_the_segments_that_have_it():
    readings = np.array([[1, -1, 1, -1], [np.nan, -1, 1, np.nan], [np.nan] * 4])
    text, vision, audio = _accuracies(readings, np.array([1.0, 1.0, 1.0, 0.0]))
    assert text == pytest.approx(100 * 2 / 3) and vision == 50 and np.isnan(audio)
