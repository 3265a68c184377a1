"""Search: settings of a model that do better on the valid split; the test split is not looked at.

Optuna (an extra: ``pip install dmd[search]``) proposes settings from the space below; a trial is a training with each
seed, and its value their mean valid MAE. Trials are kept in ``search.sqlite`` in the search's folder, so that a search
that was broken off goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.files import write_text
from tasks.progress import Progress
from tasks.train import Job, train_one

if TYPE_CHECKING:
    import optuna

    from dmd_model.batch import Samples

LEARNING_RATES = (1e-4, 5e-3)
BATCH_SIZES = (8, 16, 32, 64)
WEIGHT_DECAYS = (1e-6, 1e-2)
DROPOUTS = (0.0, 0.6)
"""The space: the first and third on a logarithmic scale; every dropout of the model's config by itself."""


class SearchError(Exception):
    """A search that cannot be made; the message says why."""

    reason = "search_failed"


def search(
    model: str, samples: Mapping[str, Samples], seeds: Sequence[int], trials: int, minutes: float, folder: Path,
    device: str, text_encoder: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Search until there are ``trials`` trials or the time is up; return the best settings, as overrides of ``fit``.

    They are written to ``folder/best.json`` with their valid MAE. Raises SearchError where Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise SearchError("the search needs Optuna: pip install 'dmd[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    for broken_off in folder.glob("trial-*"):
        shutil.rmtree(broken_off)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'search.sqlite'}", study_name=model, load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seeds[0]),
    )  # fmt: skip
    seen = {split: samples[split] for split in ("train", "valid")}
    ends = time.monotonic() + 60 * minutes
    done = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    with Progress(f"search {model}", total=trials, done=done, unit="trial") as progress:
        while done < trials and time.monotonic() < ends:
            study.optimize(
                lambda trial: _trial(trial, Job(model, 0, folder, {}, text_encoder), seen, seeds, device), n_trials=1
            )
            done += 1
            progress.advance(f"best valid MAE {study.best_value:.3f}")
    if not done or study.best_value == float("inf"):
        raise SearchError(f"no trial came to an end without diverging ({done} trials, {minutes} minutes)")
    best = {"valid_mae": study.best_value, "trials": done, "settings": study.best_trial.user_attrs["settings"]}
    write_text(folder / "best.json", json.dumps(best, indent=1))
    return best


def _trial(trial: optuna.Trial, base: Job, samples: Mapping[str, Samples], seeds: Sequence[int], device: str) -> float:
    """The mean valid MAE over the seeds; a training that diverges is a bad trial, not the end of the search."""
    from dmd_model.fit import DivergenceError, read_result

    settings = propose(trial, base.model)
    folder = base.folder / f"trial-{trial.number}"
    trial.set_user_attr("settings", settings)
    found = []
    for seed in seeds:
        job = replace(base, seed=seed, folder=folder / str(seed), overrides=settings)
        try:
            train_one(job, samples, device, lambda epoch: None)
        except DivergenceError:
            return float("inf")
        found.append(read_result(job.folder).metrics["valid"]["mae"])
    shutil.rmtree(folder)
    return sum(found) / len(found)


def propose(trial: optuna.Trial, model: str) -> dict[str, Any]:
    """One point of the space for a model of the registry."""
    from dmd_model.registry import configure

    config, _ = configure(model)
    settings: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
    }
    for field in fields(config):
        if "dropout" in field.name:
            value = getattr(config, field.name)
            places = [f".{place}" for place in range(len(value))] if isinstance(value, tuple) else [""]
            found = [trial.suggest_float(f"{field.name}{place}", *DROPOUTS) for place in places]
            settings[field.name] = found if isinstance(value, tuple) else found[0]
    return settings
