"""Challenge: real models on real splits; who learnt more wins, who learnt the same does not, and nobody is cheated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmd_model.registry import configure, model_class
from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset
from tasks.challenge import challenge, judge, refuse_moved_splits, settle
from tasks.champion import Champion, ChampionError, champion, decide, decisions, ensemble, serving
from tasks.evaluate import read_result
from tasks.train import train
from tests.tasks.labelled_data import publish

MODEL, SEEDS = "lf-lstm", [1, 2]
COUNTS = {"train": 120, "valid": 60, "test": 40}
pytestmark = pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")


def learnable_data() -> AlignedDataset:
    """220 segments of two words whose label is told by every feature's first column."""
    random = np.random.default_rng(0)
    splits = tuple(split for split, count in COUNTS.items() for _ in range(count))
    labels = random.uniform(-3, 3, len(splits)).astype(np.float32)
    words = 2 * len(splits)
    features = {name: random.normal(size=(words, 3)).astype(np.float32) for name in ("glove", "vision", "audio")}
    for values in features.values():
        values[:, 0] = np.repeat(labels, 2)
    return AlignedDataset(
        ids=tuple(f"{split}{row}$_$0" for row, split in enumerate(splits)),
        videos=tuple(f"{split}{row}" for row, split in enumerate(splits)),
        labels=labels,
        splits=splits,
        offsets=np.arange(0, words + 1, 2),
        words=("w",) * words,
        starts=np.zeros(words),
        ends=np.zeros(words),
        features=features,
        masks={name: np.ones(words, bool) for name in features},
        columns={name: tuple(f"{name}{column}" for column in range(3)) for name in features},
    )


def trained(store: FeatureStore, published: Published, folder: Path, epochs: int) -> list[Path]:
    """Trained for so many epochs, in a models folder."""
    config, training = configure(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_class(MODEL), "PRESETS", {"default": (config, replace(training, max_epochs=epochs))})
        return train.fn(store, published, [MODEL], SEEDS, "glove", "cpu", folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[FeatureStore, Published, list[Path], list[Path]]:
    """A published data set, trainings of one epoch on it and trainings of twelve."""
    folder = tmp_path_factory.mktemp("challenge")
    store, published = publish(folder, learnable_data())
    novice, expert = (trained(store, published, folder / str(epochs) / "models", epochs) for epochs in (1, 12))
    return store, published, novice, expert


def crowned(runs: list[Path], models: Path) -> Champion:
    decide(models, ensemble(runs), True, "first", "")
    return serving(models)


@pytest.fixture
def models(world) -> Path:
    """The folder in which all runs lie, without decisions."""
    folder = world[2][0].parents[3]
    yield folder
    (folder / "champions.json").unlink(missing_ok=True)


def test_who_learnt_more_is_promoted(prefect_server, world, models):
    store, published, novice, expert = world
    outcome = challenge.fn(store, published, crowned(novice, models), expert)
    assert champion(models).runs == tuple(novice), "not before it is settled"
    settle.fn(store, outcome, models)
    assert outcome.promoted and champion(models).runs == tuple(expert)
    assert champion(models).promoted.reason == outcome.reason
    assert "on the 60 segments of the valid split" in outcome.reason
    assert "lower in 100.0 % of 10,000 resamples, and 95 % are needed" in outcome.reason


def test_who_learnt_less_is_not_promoted(prefect_server, world, models):
    store, published, novice, expert = world
    before = crowned(expert, models)
    outcome = challenge.fn(store, published, before, novice)
    settle.fn(store, outcome, models)
    assert not outcome.promoted and champion(models) == before
    last = decisions(models)[-1]
    assert not last.promoted and last.ensemble == ensemble(novice) and last.reason == outcome.reason


def test_who_learnt_the_same_is_not_promoted(prefect_server, world, models):
    store, published, _, expert = world
    before = crowned(expert, models)
    outcome = challenge.fn(store, published, before, expert)
    settle.fn(store, outcome, models)
    assert not outcome.promoted and champion(models) == before
    assert "(difference +0.000" in outcome.reason and "lower in 0.0 %" in outcome.reason


def test_the_rows_are_both_on_the_present_test_split(prefect_server, world, models):
    """On the very data that it was trained on, a model's row is that of its own results."""
    store, published, novice, expert = world
    outcome = challenge.fn(store, published, crowned(novice, models), expert)
    assert [row.model for row in outcome.rows] == [f"champion: {MODEL}", f"challenger: {MODEL}"]
    for row, runs in zip(outcome.rows, (novice, expert), strict=True):
        maes = [read_result(run)["metrics"]["test"]["mae"] for run in runs]
        assert row.runs == 2 and row.mean["mae"] == pytest.approx(np.mean(maes), abs=1e-5)


def test_it_is_the_mean_of_the_seeds_that_is_judged():
    """Two wild seeds whose mean is right beat one that is always wrong a little."""
    labels = np.linspace(-2, 2, 40)
    wild, wrong = np.stack([labels + 3, labels - 3]), np.stack([labels + 0.5])
    assert judge(wild, wrong, labels)[0] and not judge(wrong, wild, labels)[0]


def test_a_small_advantage_that_may_be_chance_is_not_enough():
    random = np.random.default_rng(0)
    labels = np.zeros(30)
    noise = random.normal(size=(1, 30))
    promoted, reason = judge(noise, noise + random.normal(0.02, 0.5, (1, 30)), labels)
    assert not promoted and "95 % are needed" in reason


def test_a_video_that_changed_its_split_stops_it(tmp_path):
    data = learnable_data()
    store, published = publish(tmp_path, data)
    before = Champion(MODEL, (1,), "glove", published, (), None)
    more = replace(data, ids=("x", *data.ids[1:]), videos=("x", *data.videos[1:]))
    refuse_moved_splits(store, before, store.write_aligned({"a": "video"}, more))
    moved = store.write_aligned({"another": "split"}, replace(data, splits=("valid", *data.splits[1:])))
    with pytest.raises(ChampionError, match="train0 from train to valid") as refusal:
        refuse_moved_splits(store, before, moved)
    assert refusal.value.reason == "splits_moved"


def test_a_champion_of_other_columns_is_a_sentence_and_stays(prefect_server, world, models, tmp_path):
    _, _, novice, expert = world
    data = learnable_data()
    names = data.columns | {"glove": ("other", "columns", "here")}
    store, published = publish(tmp_path, replace(data, columns=names))
    before = crowned(novice, models)
    with pytest.raises(ChampionError, match="columns are not those the model was trained on.*dmd models promote"):
        challenge.fn(store, published, before, expert)
    assert champion(models) == before and len(decisions(models)) == 1


def test_without_a_challenger_the_champion_stays(world, models):
    store, published, novice, _ = world
    before = crowned(novice, models)
    with pytest.raises(ChampionError, match="no labels any more"):
        challenge.fn(store, published, before, [])
    assert champion(models) == before
