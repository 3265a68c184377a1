"""Challenge: champion and challenger on the same data, and which of them is to serve.

The rule: the challenger is promoted if, on the valid split, the mean absolute error of its ensemble is lower than the
champion's in at least 95 % of 10,000 paired bootstrap resamples of the segments. The test split decides nothing; both
rows of it are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore, Published
from storage.segments import table_digest
from tasks.champion import Champion, ChampionError, Ensemble, decide, ensemble
from tasks.evaluate import Row, model_rows, read_result, results_table
from tasks.progress import Progress
from tasks.train import split_samples

if TYPE_CHECKING:
    from dmd_model.batch import Samples

REQUIRED_SHARE = 0.95
"""Of resamples in which the challenger must be better."""


@dataclass(frozen=True)
class Outcome:
    """What is decided about the challenger, why, and the rows of champion and challenger on the test split."""

    challenger: Ensemble
    promoted: bool
    reason: str
    rows: tuple[Row, ...]


def refuse_moved_splits(store: FeatureStore, champion: Champion, dataset: str) -> None:
    """Raises ChampionError if a video changed its split since the champion was trained: it may have learnt from it.

    Where the labels name no splits these follow from the ids alone, and adding videos moves none.
    """
    old, new = (
        store.aligned(champion.published.fingerprint, champion.published.snapshot),
        store.aligned(dataset, "staging"),
    )
    before = dict(zip(old.videos, old.splits, strict=True))
    moved = {
        video: f"{video} from {before[video]} to {split}"
        for video, split in zip(new.videos, new.splits, strict=True)
        if before.get(video, split) != split
    }
    if moved:
        more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
        raise ChampionError(
            "splits_moved",
            f"videos have changed their split since the champion was trained ({', '.join([*moved.values()][:3])}{more})"
            ", so it cannot be compared fairly: undo that in label.csv, or train anew and `dmd models promote`",
        )


@task(cache_policy=NO_CACHE)
def challenge(store: FeatureStore, published: Published, champion: Champion, runs: Sequence[Path]) -> Outcome:
    """Judge the challenger that ``runs`` make. Raises ChampionError where the two cannot be compared."""
    if not runs:
        raise ChampionError("unlabelled", "the data set has no labels any more, so nothing could be trained or judged")
    challenger = ensemble(runs)
    data = store.aligned(published.fingerprint, at=published.snapshot)
    samples = {split: split_samples(data, split, champion.text) for split in ("valid", "test")}
    with Progress("champion against challenger", total=len(champion.runs) + len(runs), unit="model") as progress:
        ours, theirs = (predictions(side, samples, progress) for side in (challenger, champion))
    promoted, reason = judge(ours["valid"], theirs["valid"], samples["valid"].labels)
    rows = [
        *_rows("champion", champion, theirs["test"], samples),
        *_rows("challenger", challenger, ours["test"], samples),
    ]
    results_table(rows, "retraining")
    verdict = "The challenger is promoted" if promoted else "The champion stays"
    create_markdown_artifact(f"**{verdict}**: {reason}", key="decision")
    return Outcome(challenger, promoted, reason, tuple(rows))


@task(cache_policy=NO_CACHE)
def settle(store: FeatureStore, outcome: Outcome, models: Path) -> None:
    """Record the decision, the last thing of a retraining: one that was broken off before is done again."""
    decide(models, outcome.challenger, outcome.promoted, outcome.reason, table_digest(store.segments()))


def predictions(side: Ensemble, samples: Mapping[str, Samples], progress: Progress) -> dict[str, np.ndarray]:
    """What each run predicts of every split, [seeds, N].

    Raises ChampionError where weights cannot be read or are of other columns.
    """
    from dmd_model.batch import DataError
    from dmd_model.checkpoint import CheckpointError, load
    from dmd_model.prediction import predict

    found: dict[str, list[np.ndarray]] = {split: [] for split in samples}
    for run in side.runs:
        try:
            trained = load(run)
            for split, part in samples.items():
                found[split].append(predict(trained, part))
        except (CheckpointError, DataError) as error:
            raise ChampionError(
                "not_comparable",
                f"{run} cannot be judged on this data ({error}): train anew and `dmd models promote`",
            ) from error
        progress.advance()
    return {split: np.stack(values) for split, values in found.items()}


def judge(challenger: np.ndarray, champion: np.ndarray, labels: np.ndarray) -> tuple[bool, str]:
    """Whether the challenger is promoted, and the reason; predictions [seeds, N], labels [N]."""
    from dmd_model.metrics import RESAMPLES, paired_bootstrap

    ours, theirs = (np.abs(side.mean(axis=0) - labels) for side in (challenger, champion))  # [N]
    found = paired_bootstrap(ours, theirs)
    promoted = found.lower >= REQUIRED_SHARE
    return promoted, (
        f"on the {len(labels)} segments of the valid split the challenger's error is {ours.mean():.3f}, the champion's "
        f"{theirs.mean():.3f} (difference {found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f})"
        f"; the challenger's is lower in {100 * found.lower:.1f} % of {RESAMPLES:,} resamples, and "
        f"{100 * REQUIRED_SHARE:.0f} % are needed"
    )


def _rows(name: str, side: Ensemble, predicted: np.ndarray, samples: Mapping[str, Samples]) -> list[Row]:
    """The row of one side; ``predicted`` [seeds, N] of the test split."""
    from dmd_model.metrics import evaluate

    return model_rows(
        [
            read_result(run)
            | {"model": f"{name}: {side.model}", "metrics": {"test": evaluate(values, samples["test"].labels)}}
            for run, values in zip(side.runs, predicted, strict=True)
        ],
        name="",
    )
