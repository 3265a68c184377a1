"""Training: every model and seed on a published data set, each in a folder of its own.

A GPU is shared by a few trainings at a time, for one does not fill it; on a CPU as many run as there are cores, for one
gains little from a second thread. PyTorch takes seconds to import, so that is done where there is something to train.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE

import dmd_model
from dmd_model.registry import MODELS
from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset, Failure, fingerprint
from tasks.files import digest, write_text
from tasks.hub_models import model_folder, model_sha256
from tasks.labels import SPLITS
from tasks.limits import one_at_a_time
from tasks.progress import Progress
from tasks.workers import Workers

if TYPE_CHECKING:
    from dmd_model.batch import Samples
    from dmd_model.seed_stack import SeedStack

log = logging.getLogger(__name__)
PIECES = "pieces"
"""The feature whose rows are word pieces, for an encoder that is trained."""
MOST_FRAMES = 500
"""Of longer unaligned sequences models read the beginning, as in the field's unaligned files (vision, MMSA)."""
_EPOCHS = "epochs"
_ON_A_GPU = 5
"""Trainings that share a GPU, all in its memory; one with a text encoder of its own fills it."""
_SMALL = 2000
"""Trainings of fewer segments, all together, are well under way before workers would have started for them."""


class TrainingError(Exception):
    """Trainings that failed, one sentence each; the others were finished."""

    reason = "training_failed"


@dataclass(frozen=True)
class Job:
    """One training: a model of the registry with a seed, in a folder of its own.

    ``overrides`` change its settings; ``text_encoder`` is the folder of an encoder that is trained with it.
    """

    model: str
    seed: int
    folder: Path
    overrides: Mapping[str, object] = field(default_factory=dict)
    text_encoder: Path | None = None


@task(cache_policy=NO_CACHE)
def train(
    store: FeatureStore,
    published: Published,
    models: Sequence[str],
    seeds: Sequence[int],
    text: str,
    device: str,
    folder: Path,
) -> list[Path]:
    """Train what was not trained yet on this data by this code; return the folder of every model and seed.

    Each folder has ``data.json``, which names the snapshot that was read and the version of the code. A data set
    without labels trains nothing, by rule, and says so. Raises TrainingError.
    """
    data = store.aligned(published.fingerprint, at=published.snapshot)
    if not np.isfinite(data.labels).any():
        log.warning("no training: the data set has no labels")
        return []
    code = digest(sorted(Path(dmd_model.__file__).parent.rglob("*.py")))  # other code makes other models
    definition = {"data": published.fingerprint, "text": text, "code": code}
    overrides, encoder = frame_lengths(data, text), trained_encoder(store, published, text)
    jobs = [
        Job(model, seed, folder / model / fingerprint({"model": model, "seed": seed, **definition}), overrides, encoder)
        for model in models
        for seed in seeds
    ]
    missing = [job for job in jobs if not (job.folder / "result.json").exists()]
    log.info("%d of %d trainings were done before on this data by this code", len(jobs) - len(missing), len(jobs))
    if missing:
        for job in missing:
            write_text(job.folder / "data.json", json.dumps({**asdict(published), "text": text, "code": code}))
        train_jobs(missing, {split: split_samples(data, split, text) for split in SPLITS}, device)
    return [job.folder for job in jobs]


def finished(models: Path, published: Published) -> list[Path]:
    """The folders of trainings on this data that have ended, by model; of each model those that are like its last one.

    Alike is what read the same text by the same code: a seed that other code trained once more is no second seed.
    """
    ended = sorted(models.glob("*/*/result.json"), key=lambda result: result.stat().st_mtime_ns)
    read = {result.parent: (result.parent / "data.json").read_text("utf-8") for result in ended}
    here = [run for run, data in read.items() if json.loads(data)["fingerprint"] == published.fingerprint]
    last = {run.parent.name: read[run] for run in here}
    alike = [run for run in here if read[run] == last[run.parent.name]]
    return sorted(alike, key=lambda run: list(MODELS).index(run.parent.name.partition("@")[0]))


def train_jobs(jobs: Sequence[Job], samples: Mapping[str, Samples], device: str) -> None:
    """Do all the trainings; those that were broken off go on. Raises TrainingError when the others are finished.

    Other runs of deployments wait for the GPU.
    """
    import torch

    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    here = gpu or len(jobs) == 1 or len(jobs) * len(samples["train"]) < _SMALL
    with one_at_a_time(_gpu_limit()) if gpu else nullcontext():
        failures = list(_here(jobs, samples, device, gpu) if here else _side_by_side(jobs, samples))
    if said := [f"{job.model}, seed {job.seed}: {failure.message}" for job, failure in failures]:
        raise TrainingError("; ".join(said))


def _gpu_limit() -> str:
    """The concurrency limit of the runs that train on the GPU of this process."""
    import torch

    return f"dmd-gpu-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _here(jobs: Sequence[Job], samples: Mapping[str, Samples], device: str, gpu: bool) -> Iterable[tuple[Job, Failure]]:
    """In this process, those together that are alike but for the seed; on a GPU, some of them at a time."""
    from dmd_model.seed_stack import SeedStack

    alike: dict[str, list[Job]] = {}
    for job in jobs:
        alike.setdefault(f"{job.model} {dict(job.overrides)} {job.text_encoder}", []).append(job)
    for group in alike.values():
        at_once = min(_ON_A_GPU, len(group)) if gpu and not group[0].text_encoder else 1
        yield from _in_turns(group, samples, device, SeedStack(at_once))


def _in_turns(
    jobs: Iterable[Job], samples: Mapping[str, Samples], device: str, stack: SeedStack
) -> Iterable[tuple[Job, Failure]]:
    """As many under way at a time as the stack has places, a batch of each in turn."""
    from dmd_model.fit import DivergenceError

    waiting, running = list(jobs), []
    while waiting or running:
        while waiting and len(running) < stack.size:
            job = waiting.pop(0)
            running.append((job, _behind_a_bar(job, samples, device, stack)))
        for job, turns in list(running):
            try:
                next(turns)
            except StopIteration:
                running.remove((job, turns))
            except DivergenceError as error:
                running.remove((job, turns))
                yield job, Failure("diverged", str(error))


def _behind_a_bar(job: Job, samples: Mapping[str, Samples], device: str, stack: SeedStack) -> Iterator[None]:
    """A training's turns, and a bar of its epochs; it often ends early, when valid stops improving."""
    from dmd_model.registry import configure

    epochs = configure(job.model, job.overrides)[1].max_epochs
    with Progress(f"train {job.model}, seed {job.seed}", total=epochs, unit="epoch") as progress:
        yield from train_in_turns(job, samples, device, lambda epoch: progress.advance(_note(epoch)), stack)


def _side_by_side(jobs: Sequence[Job], samples: Mapping[str, Samples]) -> Iterable[tuple[Job, Failure]]:
    """All behind one bar of trainings, one at a time on each Dask worker of this machine."""
    with Workers() as workers, Progress("train", total=len(jobs), unit="training") as progress:
        shared = workers.client.scatter(samples, broadcast=True)
        workers.client.subscribe_topic(_EPOCHS, lambda event: progress.say(event[1]))
        by_key = {f"{job.model}, seed {job.seed}, {job.folder}": job for job in jobs}
        for key, outcome in workers.measure(_train_on_worker, {k: (job, shared) for k, job in by_key.items()}):
            progress.advance()
            if isinstance(outcome, Failure):
                yield by_key[key], outcome


def _train_on_worker(job: Job, samples: Mapping[str, Samples]) -> None:
    from distributed import get_worker

    worker = get_worker()
    name = f"{job.model}, seed {job.seed}"
    train_one(job, samples, "cpu", lambda epoch: worker.log_event(_EPOCHS, f"{name}: {_note(epoch)}"))


def _note(epoch: Mapping[str, Any]) -> str:
    return f"epoch {epoch['epoch']}, valid error {epoch['valid_error']:.3f}"


def train_one(job: Job, samples: Mapping[str, Samples], device: str, on_epoch: Callable[[dict], None]) -> None:
    """One training, with its curves in ``tensorboard`` in its folder; a process that is at it already is waited for."""
    from dmd_model.seed_stack import SeedStack

    for _ in train_in_turns(job, samples, device, on_epoch, SeedStack(1)):
        pass


def train_in_turns(
    job: Job, samples: Mapping[str, Samples], device: str, on_epoch: Callable[[dict], None], stack: SeedStack
) -> Iterator[None]:
    """``train_one`` that gives way after every batch, with others of the same ``stack``."""
    from torch.utils.tensorboard import SummaryWriter

    from dmd_model.fit import fit_in_turns

    with FileLock(job.folder / ".lock"), SummaryWriter(job.folder / "tensorboard") as board:

        def record(epoch: Mapping[str, Any]) -> None:
            """Draw what is in the epoch's record, a list entry by entry."""
            board.add_scalar("valid/error", epoch["valid_error"], epoch["epoch"])
            board.add_scalar("learning_rate", epoch["learning_rate"], epoch["epoch"])
            for name, value in epoch["train"].items():
                scalars = (
                    {f"train/{name}/{place}": one for place, one in enumerate(value)}
                    if isinstance(value, list)
                    else {f"train/{name}": value}
                )
                for tag, scalar in scalars.items():
                    board.add_scalar(tag, scalar, epoch["epoch"])
            on_epoch(epoch)

        yield from fit_in_turns(
            job.model,
            samples,
            seed=job.seed,
            folder=job.folder,
            overrides=job.overrides,
            text_encoder=job.text_encoder,
            device=device,
            on_epoch=record,
            stack=stack,
        )


def trained_encoder(store: FeatureStore, published: Published, text: str) -> Path | None:
    """The folder of the encoder that made the data's word pieces, if these are the text; None for other text.

    Raises TrainingError where the data have no pieces, or the encoder is not the one any more that made them, and
    AssetError where it cannot be had.
    """
    if text != PIECES:
        return None
    made_of = store.recipe("aligned", published.fingerprint)
    pieces = store.aligned(published.fingerprint, at=published.snapshot).features.get(PIECES)
    if pieces is None:
        raise TrainingError(
            f"the data set {published.tag} has no word pieces: extract it from raw video, or import a file with "
            "text_bert, then train"
        )
    if encoder := made_of.get("text_encoder"):  # of an imported data set, which names it but does not know it
        known = json.loads((model_folder(encoder) / "config.json").read_text("utf-8"))["vocab_size"]
        if len(pieces) and pieces[:, 0].max() >= known:
            raise TrainingError(
                f"the text encoder {encoder} knows {known} word pieces, and {published.tag} has more: import it again "
                "and name the encoder whose pieces they are (text_encoder)"
            )
        return model_folder(encoder)
    made_by = store.recipe(PIECES, made_of["features"][PIECES])
    if model_sha256(made_by["encoder"]) != made_by["sha256"]:
        raise TrainingError(
            f"the text encoder {made_by['encoder']} has changed: extract the data set again, then train"
        )
    return model_folder(made_by["encoder"])


def frame_lengths(data: AlignedDataset, text: str) -> dict[str, list[int]]:
    """The setting by which models read unaligned features: how many frames of each; nothing for word-aligned ones.

    Word pieces are read as words.
    """
    offsets = [data.offsets if name == PIECES else data.feature_offsets(name) for name in (text, "vision", "audio")]
    if all(rows is data.offsets for rows in offsets):
        return {}
    longest = [int(np.diff(rows).max(initial=1)) for rows in offsets]
    return {"lengths": [min(max(count, 1), MOST_FRAMES) for count in longest]}


def split_samples(data: AlignedDataset, split: str, text: str) -> Samples:
    """The labelled segments of one split, with ``text`` (glove, bert or pieces) as their text features.

    A modality that the data set does not have is absent.
    """
    from dmd_model.batch import Samples, Sequences

    part = data.take(np.flatnonzero((np.array(data.splits) == split) & np.isfinite(data.labels)))

    def sequences(feature: str) -> Sequences:
        if feature not in part.features:
            return Sequences.absent(len(part.ids))
        offsets = part.feature_offsets(feature)
        return Sequences(part.features[feature], offsets, part.masks[feature], part.columns[feature])

    return Samples(part.ids, part.labels, sequences(text), sequences("vision"), sequences("audio"))
