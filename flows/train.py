"""The flow `dmd` from a published data set on: its deployments are `dmd/train` and `dmd/compare`."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow
from prefect.deployments import run_deployment

from flows.parameters import CompareParameters, DataParameters, RunParameters, SearchParameters, TrainParameters
from storage.feature_store import FeatureStore, Published
from storage.schema import StoreError
from tasks.champion import crown
from tasks.evaluate import evaluate, write_results
from tasks.report import report
from tasks.search import search
from tasks.train import TrainingError, finished, split_samples, train, trained_encoder


@flow(name="dmd")
def train_published(run: TrainParameters = TrainParameters()) -> Path:  # noqa: B008 the form shows these defaults
    """Train models on the data set that was published last, evaluate them and write ``results.html``.

    ``results.json`` beside it has the table for scripts. What the models folder holds already is not trained again.
    Where no champion serves, the first model becomes it. Raises StoreError where nothing was published.
    """
    store, published = published_data(run)
    runs = train(store, published, run.models, run.seeds, run.text, run.device, run.models_folder)
    rows = evaluate(store, published, runs, run.dataset)
    write_results(rows, published, run.dataset, run.folder / "results.json")
    page = report(store, published.fingerprint, [], None, published, rows, runs, None, run.folder / "results.html")
    crown(store, runs, run.models_folder)
    return page


@flow(name="dmd")
def compare_published(run: CompareParameters = CompareParameters()) -> Path:  # noqa: B008
    """The same with every model and five seeds."""
    return train_published.fn(run)


@flow(name="report")
def report_published(run: DataParameters) -> Path:
    """Write ``results.html`` again, of all models that were ever trained on the data set that was published last.

    Raises StoreError where nothing was published.
    """
    store, published = published_data(run)
    runs = finished(run.models_folder, published)
    rows = evaluate(store, published, runs, run.dataset)
    return report(store, published.fingerprint, [], None, published, rows, runs, None, run.folder / "results.html")


def train_elsewhere(run: RunParameters) -> None:
    """Have the deployment that is named train, as a child of this run, and wait for it.

    Raises TrainingError where it fails, or writes its results to another home.
    """
    parameters = TrainParameters(**run.model_dump(include=set(TrainParameters.model_fields)))
    results, began = run.folder / "results.json", time.time()
    child = run_deployment(run.train_with, parameters={"run": parameters.model_dump(mode="json")}, timeout=None)
    if not child.state.is_completed():
        raise TrainingError(f"{run.train_with}, run {child.name}, ended as {child.state.name}: {child.state.message}")
    if not results.exists() or results.stat().st_mtime < began:
        raise TrainingError(f"{run.train_with} has trained, but not into {run.folder}: it needs the same home")


def search_settings(run: SearchParameters) -> Path:
    """Search for better settings of a model on the valid split of the data set that was published last.

    Returns the file with the best ones. Raises StoreError where nothing was published, and SearchError.
    """
    store, published = published_data(run)
    data = store.aligned(published.fingerprint, at=published.snapshot)
    samples = {split: split_samples(data, split, run.text) for split in ("train", "valid")}
    (model,) = run.models
    folder = run.folder / "searches" / f"{model}-{published.fingerprint}-{run.text}"
    encoder = trained_encoder(store, published, run.text)
    search(model, samples, run.seeds, run.trials, run.minutes, folder, run.device, encoder)
    return folder / "best.json"


def published_data(run: DataParameters) -> tuple[FeatureStore, Published]:
    """The store, and what it published last. Raises StoreError where that is nothing."""
    store = FeatureStore.open(run.store_url)
    published = store.published()
    if published is None:
        raise StoreError("nothing_published", f"{run.store_url} has no published data set: `dmd run` makes one")
    return store, published
