"""The flow `retrain`: new data? Then champion against challenger. Its deployment is `retrain/nightly`."""

from __future__ import annotations

from pathlib import Path

from prefect import State, flow
from prefect.states import Completed

from flows.dmd import coordinators, dmd, make_data_set, raw_folder, train_and_report
from flows.parameters import RetrainParameters, RunParameters
from storage.feature_store import FeatureStore
from tasks.arrivals import files_in, look
from tasks.challenge import challenge, refuse_moved_splits, settle
from tasks.champion import champion
from tasks.limits import one_at_a_time
from tasks.retraining import retraining_page
from tasks.validate import refuse


@flow(name="retrain")
def retrain(run: RetrainParameters = RetrainParameters()) -> Path | State:  # noqa: B008 the form shows these defaults
    """Train the champion's model on what has arrived, and promote the challenger if it is better on valid.

    Where nothing has arrived the run is Completed at once, and says so. Where no champion serves yet, the flow `dmd`
    trains the first one. Returns the page of the decision, or of that flow. Raises ChampionError where champion and
    challenger cannot be compared, GateRefused where the data set does not pass; the champion serves on in both cases.
    """
    serving = champion(run.models_folder)
    if serving is None:
        if run.raw is not None and run.raw.is_dir() and not files_in(run.raw):
            return Completed(message=f"nothing to train on: {run.raw} is empty, and no champion serves yet")
        return dmd(RunParameters(**run.model_dump()))
    with one_at_a_time(coordinators(run)):
        raw, store, inventory = raw_folder(run), FeatureStore.open(run.store_url), run.folder / "inventory.json"
        arrivals = look(store, raw, inventory, run.folds, run.errata, run.models_folder, serving)
        if arrivals.judged:
            return Completed(message=arrivals.sentence)
        whole = run.run_of(serving.model, serving.seeds, serving.text)
        data = make_data_set(store, raw, whole)
    refuse_moved_splits(store, serving, data.fingerprint)
    runs, report = train_and_report(store, raw, data, whole)
    outcome = challenge(store, data.published, serving, runs) if data.published else None
    page = retraining_page(serving, arrivals, data.verdict, outcome, report, run.folder / "retraining.html")
    refuse(data.verdict, page)
    settle(store, outcome, run.models_folder)
    return page
