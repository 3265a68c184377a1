"""Figures of trained models: their training, their predictions, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from tasks.evaluate import Comparison
from tasks.figures import DMD, INK, SOFT, Drawing, canvas, colour

ACROSS = 4
"""Panels in a row of small multiples."""
CLASSES = np.arange(-3, 4)
ON_LIGHT = "#15202b"
"""Of text on the lighter shades, on a light page and on a dark one."""


def training_curves(models: Mapping[str, Sequence[tuple[int, Sequence[Mapping[str, Any]], int]]]) -> Drawing:
    """Valid error by epoch, a panel a model and a line a run; the epoch that was kept is marked.

    ``models`` are, by name, each run's seed, history and kept epoch.
    """
    figure, panels = _panels(len(models), 2.0)
    numbers = []
    for axes, (name, runs) in zip(panels, models.items(), strict=True):
        for seed, history, kept in runs:
            errors = [record["valid_error"] for record in history]
            axes.plot([record["epoch"] for record in history], errors, color=colour(name), linewidth=1.1, alpha=0.8)
            axes.plot(kept, errors[kept - 1], "o", color=colour(name), markersize=4.5)
            numbers += [
                {"model": name, "seed": seed, "epoch": record["epoch"], "valid MAE": record["valid_error"],
                 "kept": record["epoch"] == kept}
                for record in history
            ]  # fmt: skip
        axes.set_title(name)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("valid MAE", fontsize=9)
    return Drawing(figure, numbers)


def confusion(model: str, counts: np.ndarray) -> Drawing:
    """One model's counts [7, 7], true class by predicted class, large enough to be read."""
    figure, axes = canvas(4.2, 3.9)
    _confusion(axes, model, counts, 9)
    axes.set(title=model, xlabel="predicted class", ylabel="true class")
    return Drawing(figure, _confusion_numbers({model: counts}))


def confusions(counts: Mapping[str, np.ndarray]) -> Drawing:
    """The same of many models, small."""
    figure, panels = _panels(len(counts), 2.5)
    for axes, (model, found) in zip(panels, counts.items(), strict=True):
        _confusion(axes, model, found, 7)
        axes.set_title(model)
    figure.supxlabel("predicted class", fontsize=9)
    figure.supylabel("true class", fontsize=9)
    return Drawing(figure, _confusion_numbers(counts))


def predictions(truth: np.ndarray, predicted: np.ndarray, spread: np.ndarray) -> Drawing:
    """Test predictions [N] against labels, with their spread over seeds."""
    figure, axes = canvas(4.2, 3.9)
    axes.plot([-3, 3], [-3, 3], color=SOFT, linewidth=0.8, linestyle=":")
    axes.errorbar(truth, predicted, spread, fmt="o", markersize=3.2, color=DMD, ecolor=DMD, elinewidth=0.6, alpha=0.65)
    axes.set(xlabel="label", ylabel="prediction (mean ± std over seeds)", xlim=(-3.2, 3.2))
    numbers = [{"label": y, "prediction": mean, "std over seeds": std}
               for y, mean, std in zip(truth.tolist(), predicted.tolist(), spread.tolist(), strict=True)]  # fmt: skip
    return Drawing(figure, numbers)


def differences(reference: str, comparisons: Sequence[Comparison]) -> Drawing:
    """How much larger the error of each model is than that of the reference, with its interval."""
    figure, axes = canvas(5.4, 0.3 * len(comparisons) + 0.8)
    for place, one in enumerate(comparisons):
        axes.plot([one.low, one.high], [place, place], color=colour(one.model), linewidth=2.2, solid_capstyle="round")
        axes.plot(one.difference, place, "o", color=colour(one.model), markersize=5.5)
    axes.axvline(0, color=SOFT, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(comparisons)), [one.model for one in comparisons])
    axes.set(xlabel=f"test MAE minus that of {reference}, 95 % interval", ylim=(len(comparisons) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    numbers = [{"model": one.model, "MAE": one.mae, "difference": one.difference, "low": one.low, "high": one.high,
                "p": one.p, "p (Holm)": one.p_holm} for one in comparisons]  # fmt: skip
    return Drawing(figure, numbers)


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """As many panels with the same axes, ACROSS in a row."""
    across = min(count, ACROSS)
    rows = -(-count // across)
    figure = Figure(figsize=(0.5 + 2.6 * across, 0.5 + height * rows), layout="constrained")
    panels = list(figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[max(0, count - across) : count]:  # the last of each column
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def _confusion(axes: Axes, model: str, counts: np.ndarray, size: float) -> None:
    """Counts as numbers on the share of their true class."""
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    shades = LinearSegmentedColormap.from_list("", [to_rgba(colour(model), 0), to_rgba(colour(model), 1)])
    axes.pcolormesh(CLASSES, CLASSES, shares, cmap=shades, vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        ink = INK if shares[row, column] <= 0.6 else "white" if colour(model) == DMD else ON_LIGHT
        axes.text(CLASSES[column], CLASSES[row], str(counts[row, column]), ha="center", va="center", fontsize=size,
                  color=ink)  # fmt: skip
    names = [f"{number:+d}".replace("+0", "0").replace("-", "−") for number in CLASSES]
    axes.set_xticks(CLASSES, names, fontsize=size)
    axes.set_yticks(CLASSES, names, fontsize=size)
    axes.set(xlim=(-3.5, 3.5), ylim=(3.5, -3.5), aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color=SOFT)


def _confusion_numbers(counts: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"model": model, "true": int(CLASSES[row])} | {str(name): int(n) for name, n in zip(CLASSES, line, strict=True)}
        for model, found in counts.items()
        for row, line in enumerate(found)
    ]
