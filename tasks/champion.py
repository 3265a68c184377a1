"""The champion: which trained ensemble serves, how that was decided, and the way back.

A data set's models folder is the registry. ``<model>/<run id>/`` is one training (weights, config, metrics, the data it
read, the code and the environment); ``champions.json`` beside them lists every decision, oldest first. The champion is
the last one that was promoted and not withdrawn, so that renaming one file into place moves it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore, Published
from storage.segments import table_digest
from tasks.evaluate import read_result
from tasks.files import write_text
from tasks.train import finished

log = logging.getLogger(__name__)

RECORD = "champions.json"


class ChampionError(Exception):
    """There is no champion to work with, or it cannot be compared; the message says why and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Ensemble:
    """One model, trained with several seeds on one published data set; its prediction is the mean of theirs.

    ``runs`` are the folders of the trainings, one a seed; ``text`` (glove or bert) is the text feature they read.
    """

    model: str
    seeds: tuple[int, ...]
    text: str
    published: Published
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Promotion:
    """When an ensemble became champion (ISO 8601, UTC), and why."""

    time: str
    reason: str


@dataclass(frozen=True)
class Champion(Ensemble):
    """The ensemble that serves."""

    promoted: Promotion


@dataclass(frozen=True)
class Decision:
    """An ensemble that stood for champion: whether it was promoted, when (ISO 8601, UTC) and why.

    ``segments`` is the digest of the segment table that was judged with it; ``withdrawn`` the time of a roll-back.
    """

    ensemble: Ensemble
    promoted: bool
    time: str
    reason: str
    segments: str
    withdrawn: str = ""

    @property
    def stands(self) -> bool:
        """Whether it serves, or will again after a roll-back."""
        return self.promoted and not self.withdrawn


def decisions(models: Path) -> list[Decision]:
    """Every decision about the models in this folder, oldest first; none where there was none."""
    if not (models / RECORD).exists():
        return []
    return [_decision(models, **entry) for entry in json.loads((models / RECORD).read_text(encoding="utf-8"))]


def champion(models: Path) -> Champion | None:
    """The ensemble that serves, of the models in this folder; None where none was promoted."""
    standing = [decision for decision in decisions(models) if decision.stands]
    if not standing:
        return None
    last = standing[-1]
    return Champion(**vars(last.ensemble), promoted=Promotion(last.time, last.reason))


def serving(models: Path) -> Champion:
    """The champion. Raises ChampionError where there is none."""
    if (found := champion(models)) is None:
        raise ChampionError(
            "no_champion", f"{models} has no champion yet: `dmd run` trains one, or `dmd models promote` names one"
        )
    return found


def ensemble(runs: Sequence[Path]) -> Ensemble:
    """The ensemble that these finished trainings make, by what their folders say."""
    results = [read_result(run) for run in runs]
    data = json.loads((runs[0] / "data.json").read_text(encoding="utf-8"))
    published = Published(data["snapshot"], data["tag"], data["fingerprint"])
    return Ensemble(
        results[0]["model"], tuple(result["seed"] for result in results), data["text"], published, tuple(runs)
    )


def trained(models: Path, model: str, published: Published) -> Ensemble:
    """All seeds of a model that were trained on this data, as the last of them was. Raises ChampionError for none."""
    runs = [run for run in finished(models, published) if run.parent.name == model]
    if not runs:
        raise ChampionError(
            "not_trained", f"{models} has no {model} that was trained on {published.tag}: `dmd train` makes one"
        )
    return ensemble(sorted(runs, key=lambda run: read_result(run)["seed"]))


def decide(models: Path, candidate: Ensemble, promoted: bool, reason: str, segments: str) -> None:
    """Record a decision; one that promotes moves the champion, at once."""
    with _changing(models):
        decision = Decision(candidate, promoted, _now(), reason, segments)
        _write(models, [*decisions(models), decision])
    log.info("%s %s: %s", candidate.model, "is champion" if promoted else "is not promoted", reason)


def roll_back(models: Path) -> Champion:
    """Withdraw the champion and return the one before it, which serves again. Raises ChampionError where none was."""
    with _changing(models):
        known = decisions(models)
        places = [place for place, decision in enumerate(known) if decision.stands]
        if len(places) < 2:
            raise ChampionError("no_champion", f"{models} has no champion before the present one: nothing was changed")
        known[places[-1]] = replace(known[places[-1]], withdrawn=_now())
        _write(models, known)
    return serving(models)


@task(cache_policy=NO_CACHE)
def crown(store: FeatureStore, runs: Sequence[Path], models: Path) -> None:
    """Where no champion serves, make it the first model of these trainings, if there are any."""
    if not runs or champion(models) is not None:
        return
    first = [run for run in runs if run.parent == runs[0].parent]
    promote(store, ensemble(first), "the first model that was trained", models)


def promote(store: FeatureStore, candidate: Ensemble, reason: str, models: Path) -> None:
    """Make an ensemble champion; what was published with its data counts as judged."""
    decide(models, candidate, True, reason, table_digest(store.segments(at=candidate.published.snapshot)))


def _changing(models: Path) -> FileLock:
    models.mkdir(parents=True, exist_ok=True)
    return FileLock(models / f".{RECORD}.lock")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(models: Path, known: Sequence[Decision]) -> None:
    entries = []
    for decision in known:
        runs = [run.relative_to(models).as_posix() for run in decision.ensemble.runs]  # the folder may be moved
        entries.append(asdict(decision) | {"ensemble": asdict(decision.ensemble) | {"runs": runs}})
    write_text(models / RECORD, json.dumps(entries, indent=1))


def _decision(models: Path, ensemble: dict, **fields) -> Decision:
    found = Ensemble(
        ensemble["model"],
        tuple(ensemble["seeds"]),
        ensemble["text"],
        Published(**ensemble["published"]),
        tuple(models / run for run in ensemble["runs"]),
    )
    return Decision(found, **fields)
