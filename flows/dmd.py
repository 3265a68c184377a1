"""The flow `dmd`: from raw video to a results page."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.parameters import RunParameters
from storage.feature_store import FeatureStore
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.extract import Step, extract, instruments
from tasks.ingest import import_features, ingest
from tasks.pack import pack
from tasks.report import report
from tasks.sample import make_sample
from tasks.train import train
from tasks.transcribe import transcribe
from tasks.validate import publish, refuse, validate
from tasks.workers import Workers


@flow(name="dmd")
def dmd(run: RunParameters = RunParameters()) -> Path | None:  # noqa: B008 the form shows these defaults
    """Ingest, align, extract, pack, validate and publish a data set; train, evaluate and report on it.

    What the store and the models folder hold already is not done again. Returns the path of the report, if the run
    goes far enough for one. Raises GateRefused where validation fails; the report then says why.
    """
    store = FeatureStore.open(run.store_url)
    raw = make_sample(run.folder / f"raw-{run.segments}", run.segments) if run.makes_sample else run.raw
    with store.coordinating():
        steps = extract_features(store, raw, run) if raw else []
        if not run.reaches("validate"):
            return None
        dataset = pack(store, steps) if raw else import_features(store, run.features, run.text, run.folds)
        verdict = validate(store, dataset, steps, run.min_coverage, run.folder / "docs")
        published = publish(store, dataset) if verdict.passed else None
    runs, rows = [], []
    if published and run.reaches("train"):
        runs = train(store, published, run.models, run.seeds, run.text, run.device, run.folder / "models")
        rows = evaluate(store, published, runs, run.dataset)
    page = report(store, dataset, steps, verdict, published, rows, runs, raw, run.folder / "report.html")
    refuse(verdict, page)
    return page


def extract_features(store: FeatureStore, raw: Path, run: RunParameters) -> list[Step]:
    """Ingest the labels, transcribe what has no text, align words, extract every feature, as far as the run goes."""
    ingest(store, raw, run.folder / "inventory.json", run.folds, run.errata)
    steps = []
    with Workers(run.dask) as workers:
        if run.reaches("align"):
            transcribe(store, workers, raw, run.retry_failures)
            steps.append(align(store, workers, raw, run.trusts_word_times, run.retry_failures))
        if run.reaches("extract"):
            for feature, instrument in instruments(run.text_encoder, run.frames_per_second).items():
                steps.append(extract(store, workers, raw, feature, instrument, run.retry_failures))
    return steps
