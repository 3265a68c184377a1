"""The flow `dmd`: from raw video to a results page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple, get_args

from prefect import flow

from flows.parameters import DataParameters, ExtractParameters, Modality, RawParameters, RunParameters
from flows.train import train_elsewhere
from storage.feature_store import FeatureStore, Published
from tasks.align import align, aligner_named
from tasks.champion import crown
from tasks.evaluate import evaluate
from tasks.extract import Instrument, Step, extract, instruments, modality
from tasks.ingest import import_features, ingest
from tasks.limits import one_at_a_time
from tasks.pack import pack
from tasks.report import report
from tasks.sample import make_sample
from tasks.train import train
from tasks.transcribe import transcribe
from tasks.validate import Verdict, publish, refuse, validate
from tasks.workers import Workers


class DataSet(NamedTuple):
    """A packed data set: its fingerprint, the steps that made it, what the gate said, and what was published."""

    fingerprint: str
    steps: list[Step]
    verdict: Verdict
    published: Published | None


@flow(name="dmd")
def dmd(run: RunParameters = RunParameters()) -> Path | None:  # noqa: B008 the form shows these defaults
    """Ingest, align, extract, pack, validate and publish a data set; train, evaluate and report on it.

    What the store and the models folder hold already is not done again. Where no champion serves, the first model
    becomes it. Returns the path of the report, if the run goes far enough for one. Raises GateRefused where validation
    fails; the report then says why.
    """
    with one_at_a_time(coordinators(run)):
        store, raw = FeatureStore.open(run.store_url), raw_folder(run)
        data = make_data_set(store, raw, run)
    if data is None:
        return None
    runs, page = train_and_report(store, raw, data, run)
    refuse(data.verdict, page)
    crown(store, runs, run.models_folder)
    return page


@flow(name="dmd")
def extract_data_set(run: ExtractParameters = ExtractParameters()) -> Path | None:  # noqa: B008
    """The same, to the published data set; nothing is trained."""
    return dmd.fn(run)


def raw_folder(run: RawParameters) -> Path | None:
    """The folder of raw video: the one that is named, or the sample corpus, made where it is absent."""
    return make_sample(run.folder / f"raw-{run.segments}", run.segments) if run.makes_sample else run.raw


def coordinators(run: DataParameters) -> str:
    """The concurrency limit of the runs that make data in this store: those of deployments wait for each other."""
    return f"dmd-store-{run.dataset}-{hashlib.sha256(run.store_url.encode()).hexdigest()[:8]}"


def make_data_set(store: FeatureStore, raw: Path | None, run: RunParameters) -> DataSet | None:
    """From raw video or a file of features to a data set that is published, or refused; None where the run ends before.

    Nobody else commits to the store meanwhile.
    """
    with store.coordinating():
        steps = extract_features(store, raw, run) if raw else []
        if not run.reaches("validate"):
            return None
        if raw:
            dataset = pack(store, steps, run.aligned)
        else:
            dataset = import_features(store, run.features, run.text, run.folds, run.errata, run.text_encoder)
        verdict = validate(store, dataset, steps, run.min_coverage, run.folder / "docs")
        return DataSet(dataset, steps, verdict, publish(store, dataset) if verdict.passed else None)


def train_and_report(
    store: FeatureStore, raw: Path | None, data: DataSet, run: RunParameters
) -> tuple[list[Path], Path]:
    """The folders of the trained models, none where the data set was refused, and the report."""
    runs, rows = [], []
    if data.published and run.reaches("train"):
        if run.train_with:
            train_elsewhere(run)  # and what is trained is not trained again here
        runs = train(store, data.published, run.models, run.seeds, run.text, run.device, run.models_folder)
        rows = evaluate(store, data.published, runs, run.dataset)
    path = run.folder / "report.html"
    return runs, report(store, data.fingerprint, data.steps, data.verdict, data.published, rows, runs, raw, path)


def extract_features(store: FeatureStore, raw: Path, run: RunParameters) -> list[Step]:
    """Ingest the labels, transcribe what has no text, align words, extract features, as far as the run goes.

    Returns all steps, done or not.
    """
    ingest(store, raw, run.folder / "inventory.json", run.folds, run.errata)
    seen = run.raw_on_workers or str(raw.absolute())
    steps = []
    with Workers(run.dask) as workers:
        if run.reaches("align"):
            transcribe(store, workers, seen, run.retry_failures)
            aligner = aligner_named(run.aligner)
            steps.append(align(store, workers, seen, aligner, run.trusts_word_times, run.retry_failures))
        if run.reaches("extract"):
            left_out = set(get_args(Modality)) - set(run.modalities)
            for feature, instrument in _instruments(run).items():
                measured = modality(feature) not in left_out
                steps.append(
                    extract(store, workers, seen, feature, instrument, run.retry_failures)
                    if measured
                    else Step.of(feature, instrument)
                )
    return steps


def _instruments(run: RunParameters) -> dict[str, Instrument]:
    return instruments(run.text_encoder, run.frames_per_second, run.pitch_range, run.word_vectors, run.speech_encoder)
