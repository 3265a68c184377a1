"""The flow `dmd`: from raw video to a results page."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.parameters import RunParameters
from storage.feature_store import FeatureStore
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.extract import extract, instruments
from tasks.ingest import import_features, ingest
from tasks.pack import pack
from tasks.report import report
from tasks.sample import make_sample
from tasks.train import train
from tasks.validate import publish, validate
from tasks.workers import Workers


@flow(name="dmd")
def dmd(run: RunParameters = RunParameters()) -> Path | None:  # noqa: B008 the form shows these defaults
    """Ingest, align, extract, pack, validate and publish a data set; train, evaluate and report on it.

    What the store and the models folder hold already is not done again. Returns the path of the report, if the run
    got far enough for one. Raises GateRefused where validation fails; the report then says why.
    """
    store = FeatureStore.open(run.store_url)
    with store.coordinating():
        dataset = import_features(store, run.features) if run.features else extract_features(run, store)
        if not run.reaches("validate"):
            return None
        verdict = validate(store, dataset, run.folder / "docs", run.min_coverage)
        published = publish(store, dataset, verdict)
    runs = train(store, published, run.folder / "models", run.models, run.seeds, run.text, run.device)
    table = evaluate(runs)
    return report(store, dataset, verdict, table)


def extract_features(run: RunParameters, store: FeatureStore) -> str | None:
    """From raw video to a packed, word-aligned data set; returns its fingerprint, or None if the run stops before."""
    raw = make_sample(run.folder / "raw", run.segments) if run.makes_sample else run.raw
    ingest(store, raw)
    with Workers(run.dask) as workers:
        if not run.reaches("align"):
            return None
        ...
