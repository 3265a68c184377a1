"""DMD's own figures: the edges of its graph distillation units, its decoupled spaces, its unimodal heads.

Shapes: M = 3 modalities (text, vision, audio), K = 6 edges, N segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from tasks.figures import DMD, INK, MODALITY_COLOURS, SENTIMENT_COLOURS, SOFT, Drawing

TEACHER_COLOURS = dict(zip("LVA", MODALITY_COLOURS.values(), strict=True))
"""An edge has the colour of its teacher: L is text, V vision, A audio."""
NODES = {"L": (0.0, 1.1), "V": (-1.15, -0.7), "A": (1.15, -0.7)}
BEND = 0.16


def edge_curves(
    edges: Sequence[str], units: Mapping[str, np.ndarray], priors: Mapping[str, np.ndarray], kept: Sequence[int]
) -> Drawing:
    """Edge weights by epoch, a panel a unit: the mean over runs, shaded from the lowest run to the highest.

    ``edges`` [K] are named teacher→student, ``units`` are [runs, epochs, K] and ``priors`` [K], ticks on the right.
    ``kept`` are the epochs whose weights were chosen.
    """
    figure = Figure(figsize=(10.8, 3.5), layout="constrained")
    panels = figure.subplots(1, len(units), sharey=True, squeeze=False)[0]
    reach = max(map(np.max, units.values())) - min(map(np.min, units.values()))
    numbers = []
    for axes, (unit, weights) in zip(panels, units.items(), strict=True):
        epochs = np.arange(1, weights.shape[1] + 1)
        mean, low, high = weights.mean(axis=0), weights.min(axis=0), weights.max(axis=0)  # [epochs, K]
        last = _apart(mean[-1], 0.055 * reach)
        span = max(1, len(epochs) - 1)
        for place, edge in enumerate(edges):
            line = {"color": TEACHER_COLOURS[edge[0]], "linestyle": _dashes(edge)}
            axes.fill_between(epochs, low[:, place], high[:, place], color=line["color"], alpha=0.13, linewidth=0)
            axes.plot(epochs, mean[:, place], linewidth=1.5, **line)
            axes.text(epochs[-1] + 0.03 * span, last[place], edge, va="center", fontsize=8, color=line["color"])
            prior = priors[unit][place]
            axes.plot(epochs[-1] + np.array([0.17, 0.23]) * span, [prior, prior], linewidth=2.2, **line)
            numbers += [{"unit": unit, "edge": edge, "epoch": int(epoch), "mean": m, "lowest": lowest, "highest": top,
                         "prior": prior}
                        for epoch, m, lowest, top in zip(epochs, mean[:, place], low[:, place], high[:, place],
                                                         strict=True)]  # fmt: skip
        for epoch in kept:
            axes.axvline(epoch, color=SOFT, linewidth=0.8, linestyle=":")
        axes.text(epochs[-1] + 0.2 * span, axes.get_ylim()[1], "prior", ha="center", va="bottom", fontsize=8)
        axes.set(xlabel="epoch (dotted: kept)", xlim=(1 - 0.02 * span, epochs[-1] + 0.26 * span))
        axes.set_title(unit, loc="left")
        axes.set_xticks(
            [tick for tick in MaxNLocator(8, integer=True).tick_values(1, len(epochs)) if 1 <= tick <= len(epochs)]
        )
    panels[0].set_ylabel("edge weight")
    return Drawing(figure, numbers)


def edge_graphs(edges: Sequence[str], units: Mapping[str, Mapping[str, np.ndarray]]) -> Drawing:
    """Units as graphs of three nodes: a row a unit, a column for each of its named weights [K]; width is the weight."""
    columns = len(next(iter(units.values())))
    figure = Figure(figsize=(3.5 * columns, 3.1 * len(units)), layout="constrained")
    panels = figure.subplots(len(units), columns, squeeze=False)
    numbers = []
    for row, (unit, columns_of) in zip(panels, units.items(), strict=True):
        for axes, (name, weights) in zip(row, columns_of.items(), strict=True):
            _graph(axes, edges, weights)
            axes.set_title(f"{unit}: {name}", fontsize=9)
            numbers += [
                {"unit": unit, "weights": name, "edge": edge, "weight": float(weight)}
                for edge, weight in zip(edges, weights, strict=True)
            ]
    return Drawing(figure, numbers)


def spaces(
    points: Mapping[str, np.ndarray], modalities: np.ndarray, sentiments: np.ndarray, ids: Sequence[str]
) -> Drawing:
    """Planes of points, each twice: coloured by modality, and by the sign of the label.

    ``points`` are [P, 2] by the space's name, ``modalities``, ``sentiments`` and ``ids`` [P] of segments.
    """
    figure = Figure(figsize=(5.4 * len(points), 3.2), layout="constrained")
    panels = iter(figure.subplots(1, 2 * len(points)))
    for space, place in points.items():
        for groups, colours, by in (
            (modalities, MODALITY_COLOURS, "modality"),
            (sentiments, SENTIMENT_COLOURS, "sentiment"),
        ):
            axes = next(panels)
            for group, shade in colours.items():
                among = groups == group
                axes.scatter(*place[among].T, s=9, color=shade, alpha=0.75, linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{space}\nby {by}", fontsize=9)
            axes.spines[:].set(visible=True, color=SOFT)
            axes.legend(handles=[_dot(shade, group) for group, shade in colours.items()], loc="upper center",
                        bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8, handletextpad=0.1, columnspacing=1)  # fmt: skip
    numbers = [
        {"space": space, "segment": segment, "modality": modality, "sentiment": sentiment, "x": x, "y": y}
        for space, place in points.items()
        for (x, y), modality, sentiment, segment in zip(place.tolist(), modalities, sentiments, ids, strict=True)
    ]
    return Drawing(figure, numbers)


def unimodal(panels: Mapping[str, Mapping[str, np.ndarray]], fused: float) -> Drawing:
    """Accuracy of the unimodal heads: a panel a space, bars with and without its unit, a dot a run.

    ``panels`` are, by title and then by the bar's name, [runs, M] in per cent; ``fused`` is the whole model's.
    """
    figure = Figure(figsize=(0.8 + 4.6 * len(panels), 3.0), layout="constrained")
    numbers = []
    for axes, (title, bars) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        width = 0.8 / len(bars)
        for turn, (name, accuracies) in enumerate(bars.items()):
            for place, (modality, shade) in enumerate(MODALITY_COLOURS.items()):
                x, values = place - 0.4 + (turn + 0.5) * width, accuracies[:, place]
                filled = "none" if turn else shade
                axes.bar(x, values.mean(), 0.92 * width, color=filled, edgecolor=shade, linewidth=1.2)
                axes.plot(np.full(len(values), x), values, "o", markersize=3, color=INK, alpha=0.75)
                numbers += [{"space": title, "heads": name, "modality": modality, "run": run, "Acc-2": float(value)}
                            for run, value in enumerate(values, 1)]  # fmt: skip
        axes.axhline(fused, color=DMD, linewidth=1.2, linestyle="--")
        axes.set_xticks(range(3), list(MODALITY_COLOURS))
        axes.set_xlim(-0.5, 2.5)
        axes.set_title(title, loc="left")
    figure.axes[0].set_ylabel("Acc-2 (neg/pos), %")
    figure.axes[-1].text(2.53, fused, "whole\nmodel", va="center", fontsize=8, color=DMD)
    return Drawing(figure, numbers)


def _graph(axes: Axes, edges: Sequence[str], weights: np.ndarray) -> None:
    """Three nodes, and an arrow an edge, which carries its weight near the teacher."""
    for edge, weight in zip(edges, weights, strict=True):
        start, end = np.array(NODES[edge[0]]), np.array(NODES[edge[-1]])
        head = f"-|>,head_length={4 + 4 * weight},head_width={2 + 3 * weight}"
        axes.add_patch(
            FancyArrowPatch(
                start, end, connectionstyle=f"arc3,rad={BEND}", arrowstyle=head, linewidth=0.5 + 6 * weight,
                shrinkA=15, shrinkB=15, color=TEACHER_COLOURS[edge[0]], alpha=0.85, mutation_scale=1,
            )
        )  # fmt: skip
        outward = np.array([end[1] - start[1], start[0] - end[0]])  # to the side to which the arrow bends
        control, t = (start + end) / 2 + BEND * outward, 0.36
        x, y = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end + 0.085 * outward
        axes.text(x, y, f"{weight:.3f}", ha="center", va="center", fontsize=8.5, color=TEACHER_COLOURS[edge[0]])
    for name, (x, y) in NODES.items():
        axes.plot(x, y, "o", markersize=23, color=TEACHER_COLOURS[name])
        axes.text(x, y, name, ha="center", va="center", color="white", fontweight="bold", fontsize=11)
    axes.set(xlim=(-1.75, 1.75), ylim=(-1.2, 1.4), aspect="equal")
    axes.axis("off")


def _apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Heights with at least a gap between any two: moved up where they are too near, then all down to the old mean."""
    order = np.argsort(heights, kind="stable")
    spread = heights[order].astype(float)
    for place in range(1, len(spread)):
        spread[place] = max(spread[place], spread[place - 1] + gap)
    spread -= (spread - heights[order]).mean()
    moved = np.empty_like(spread)
    moved[order] = spread
    return moved


def _dashes(edge: str) -> str:
    """A teacher's two edges differ: solid to the first of the other modalities, dashed to the second."""
    return "-" if edge[-1] == "LVA".replace(edge[0], "")[0] else "--"


def _dot(shade: str, label: str) -> Any:
    return Line2D([], [], marker="o", linestyle="", markersize=5, color=shade, label=label)
