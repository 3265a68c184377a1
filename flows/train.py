"""The flow `dmd` from a published data set on: its deployments are `dmd/train` and `dmd/compare`."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.parameters import TrainParameters
from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tasks.evaluate import evaluate
from tasks.report import report
from tasks.train import train


@flow(name="dmd")
def train_published(run: TrainParameters = TrainParameters()) -> Path:  # noqa: B008 the form shows these defaults
    """Train models on the data set that was published last; evaluate them and write ``results.html``.

    What the models folder holds already is not trained again. Raises StoreError where nothing was published.
    """
    store = FeatureStore.open(run.store_url)
    published = store.published()
    if published is None:
        raise StoreError("nothing_published", f"{run.store_url} has no published data set: `dmd run` makes one")
    runs = train(store, published, run.models, run.seeds, run.text, run.device, run.folder / "models")
    rows = evaluate(store, published, runs, run.dataset)
    return report(store, published.fingerprint, [], None, published, rows, runs, None, run.folder / "results.html")
