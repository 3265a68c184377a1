"""What the report says of DMD's insides: edges, decoupled spaces, and what distillation does for each modality.

Shapes: M = 3 modalities (text, vision, audio), K = 6 edges, N test segments, d common width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.schema import AlignedDataset
from tasks.evaluate import read_result
from tasks.figures import MODALITY_COLOURS, Drawing
from tasks.figures import insides as figures
from tasks.sections.results import reference_model
from tasks.train import split_samples

if TYPE_CHECKING:
    from dmd_model.inspection import Inspection

UNITS = {"HomoGD": "edges_homo", "HeteroGD": "edges_hetero"}
MOST_SEGMENTS = 150
"""So many test segments are drawn as points: three points each in each space."""
SEED = 0


def insides_section(data: AlignedDataset, runs: Sequence[Path]) -> dict[str, Any]:
    """The figures that only DMD has, of the reference model where that is a DMD."""
    by_model: dict[str, list[Path]] = {}
    for run in runs:
        by_model.setdefault(read_result(run)["model"], []).append(run)
    model = reference_model(list(by_model)) if by_model else ""
    if model.partition("@")[0] != "dmd":
        return {}
    section = edges_section(by_model[model])
    looks = {run: _inspect(data, run) for run in by_model[model]}
    first = by_model[model][0]
    ids, labels = _test_split(data, first)
    if len(ids) > 3:  # t-SNE needs neighbours
        section["spaces"] = _spaces(looks[first], ids, labels)
        section["spaces_seed"] = read_result(first)["seed"]
        section["spaces_segments"] = min(len(ids), MOST_SEGMENTS)
    without = {part: by_model.get(name, []) for part, name in (("HomoGD", "dmd@no-homogd"),
                                                               ("HeteroGD", "dmd@no-heterogd"))}  # fmt: skip
    looks |= {run: _inspect(data, run) for among in without.values() for run in among}
    section["unimodal"] = _unimodal(by_model[model], without if model == "dmd" else {}, looks, labels)
    section["inside_of"] = model
    return section


def edges_section(runs: Sequence[Path]) -> dict[str, Any]:
    """Edge weights of the runs of one DMD: over epochs, as far as the shortest run goes, and at the epochs kept."""
    from dmd_model.checkpoint import load
    from dmd_model.graph_distillation import EDGES, HETERO_PRIOR, HOMO_PRIOR, edge_prior

    histories = [json.loads((run / "history.json").read_text()) for run in runs]
    kept = [read_result(run)["best_epoch"] for run in runs]
    epochs, config = min(map(len, histories)), load(runs[0]).run.config
    curves, graphs, priors = {}, {}, {}
    for (unit, key), hand_set in zip(UNITS.items(), (HOMO_PRIOR, HETERO_PRIOR), strict=True):
        by_run = [np.array([record["train"][key] for record in history]) for history in histories]  # [epochs, K]
        curves[unit] = np.stack([weights[:epochs] for weights in by_run])
        priors[unit] = edge_prior(config, hand_set).numpy()
        official = edge_prior(replace(config, edge_prior="hand_set"), hand_set).numpy()
        graphs[unit] = {
            "learned": np.mean([weights[epoch - 1] for weights, epoch in zip(by_run, kept, strict=True)], axis=0),
            f"this model's prior ({config.edge_prior.replace('_', '-')})": priors[unit],
        }
        if config.edge_prior != "hand_set":
            graphs[unit]["the official code's prior"] = official
    return {
        "edge_curves": figures.edge_curves(EDGES, curves, priors, kept),
        "edge_graphs": figures.edge_graphs(EDGES, graphs),
        "edge_config": config,
        "edges_kept": kept,
    }


def _inspect(data: AlignedDataset, run: Path) -> Inspection:
    from dmd_model.checkpoint import load
    from dmd_model.inspection import inspect

    return inspect(load(run), split_samples(data, "test", json.loads((run / "data.json").read_text())["text"]))


def _test_split(data: AlignedDataset, run: Path) -> tuple[tuple[str, ...], np.ndarray]:
    samples = split_samples(data, "test", json.loads((run / "data.json").read_text())["text"])
    return samples.ids, samples.labels


def _spaces(look: Inspection, ids: Sequence[str], labels: np.ndarray) -> Drawing:
    """t-SNE of the common parts of all modalities in one plane, and of the specific parts in another."""
    chosen = _drawn(len(ids))
    there = np.isfinite(look.common[:, chosen]).all(axis=2).ravel()  # [M * P], modalities that a segment has
    signs = np.select([labels[chosen] < 0, labels[chosen] > 0], ["negative", "positive"], "zero")
    parts = {"modality-irrelevant features": look.common, "modality-exclusive features": look.specific}
    return figures.spaces(
        {space: _plane(part[:, chosen].reshape(len(there), -1)[there]) for space, part in parts.items()},
        np.repeat(list(MODALITY_COLOURS), len(chosen))[there],
        np.tile(signs, 3)[there],
        np.tile([ids[place] for place in chosen], 3)[there].tolist(),
    )


def _drawn(count: int) -> np.ndarray:
    """Which of ``count`` segments are drawn: all, or MOST_SEGMENTS of them by chance, always the same."""
    if count <= MOST_SEGMENTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, MOST_SEGMENTS, replace=False))


def _plane(points: np.ndarray) -> np.ndarray:
    """Points [P, d] in a plane, [P, 2], neighbours beside one another (van der Maaten and Hinton, 2008)."""
    from sklearn.manifold import TSNE

    return TSNE(perplexity=min(30, (len(points) - 1) / 3), init="pca", random_state=SEED).fit_transform(points)


def _unimodal(
    runs: Sequence[Path], without: Mapping[str, Sequence[Path]], looks: Mapping[Path, Inspection], labels: np.ndarray
) -> Drawing:
    """Acc-2 of each modality's own heads, and where an ablation was trained, of the same without its unit."""
    panels = {}
    for unit, space, readings in (
        ("HomoGD", "common parts", "common_readings"),
        ("HeteroGD", "specific parts", "specific_readings"),
    ):
        groups = {f"with {unit}": runs, f"without {unit}": without.get(unit, [])}
        panels[f"{space}: {' / '.join(name for name, among in groups.items() if among)}"] = {
            name: np.array([_accuracies(getattr(looks[run], readings), labels) for run in among])
            for name, among in groups.items()
            if among
        }
    fused = [read_result(run)["metrics"]["test"]["acc2_nonzero"] for run in runs]
    return figures.unimodal(panels, 100 * float(np.mean(np.array(fused, np.float64))))  # null is NaN


def _accuracies(readings: np.ndarray, labels: np.ndarray) -> list[float]:
    """Acc-2 (neg/pos) in per cent of each modality's readings [M, N], of the segments that have it."""
    from dmd_model.metrics import evaluate

    accuracies = []
    for one in readings:
        there = np.isfinite(one)
        accuracies.append(100 * evaluate(one[there], labels[there])["acc2_nonzero"] if there.any() else np.nan)
    return accuracies
