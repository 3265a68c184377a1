"""Training on a published data set by itself: several models side by side on one page, and nothing twice."""

from __future__ import annotations

import pytest

from flows.parameters import DataParameters, TrainParameters
from flows.train import report_published, train_published
from storage.schema import StoreError


@pytest.fixture
def parameters(finished):
    run = finished.parameters()
    return TrainParameters(dataset=run.dataset, home=run.home, models=["dmd", "lf-lstm"], seeds=[1111], device="cpu")


def test_models_stand_side_by_side_on_one_page_and_are_trained_once(finished, parameters):
    before = finished.results
    page = train_published(parameters)
    after = finished.results
    assert before.items() < after.items() and len(after) == len(before) + 1  # DMD was trained by the whole run
    shown = page.read_text(encoding="utf-8")
    assert page.name == "results.html" and all(f"<td>{model}</td>" in shown for model in ("dmd", "lf-lstm"))
    assert "From label rows to samples" not in shown and "passed its checks" not in shown
    assert train_published(parameters) == page and finished.results == after


def test_the_page_is_drawn_again_of_all_that_was_trained(finished, parameters):
    page, before = train_published(parameters), finished.results
    page.unlink()
    assert report_published(DataParameters(dataset=parameters.dataset, home=parameters.home)) == page
    shown = page.read_text(encoding="utf-8")
    assert all(f"<td>{model}</td>" in shown for model in ("dmd", "lf-lstm")) and finished.results == before


def test_nothing_published_is_a_sentence(prefect_server, tmp_path):
    with pytest.raises(StoreError, match="has no published data set: `dmd run` makes one"):
        train_published(TrainParameters(home=tmp_path))
