"""The flow `retrain`: new data? Then champion against challenger. Its deployment is `retrain/nightly`."""

from __future__ import annotations

from pathlib import Path

from prefect import State, flow
from prefect.states import Completed

from flows.dmd import make_data_set, raw_folder, train_and_report
from flows.parameters import RetrainParameters
from storage.feature_store import FeatureStore
from tasks.arrivals import look
from tasks.challenge import challenge, refuse_moved_splits, settle
from tasks.champion import serving
from tasks.drift import measure_drift
from tasks.retraining import retraining_page
from tasks.validate import refuse


@flow(name="retrain")
def retrain(run: RetrainParameters = RetrainParameters()) -> Path | State:  # noqa: B008 the form shows these defaults
    """Train the champion's model on what has arrived, and promote the challenger if it is better on valid.

    Where nothing has arrived the run is Completed at once, and says so. Returns the page of the decision. Raises
    ChampionError where there is no champion, or it cannot be compared; GateRefused where the data set does not pass.
    The champion serves on in both cases.
    """
    champion, raw, store = serving(run.models_folder), raw_folder(run), FeatureStore.open(run.store_url)
    inventory = run.folder / "inventory.json"
    arrivals = look(store, raw, inventory, run.folds, run.errata, run.models_folder, champion)
    if arrivals.judged:
        return Completed(message=arrivals.sentence)
    whole = run.run_of(champion.model, champion.seeds, champion.text)
    data = make_data_set(store, raw, whole)
    drift = measure_drift(store, data.fingerprint, {*arrivals.new, *arrivals.changed})
    refuse_moved_splits(store, champion, data.fingerprint)
    runs, report = train_and_report(store, raw, data, whole)
    outcome = challenge(store, data.published, champion, runs) if data.published else None
    page = retraining_page(champion, arrivals, drift, data.verdict, outcome, report, run.folder / "retraining.html")
    refuse(data.verdict, page)
    settle(store, outcome, run.models_folder)
    return page
