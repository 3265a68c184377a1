"""Figures: what they share in looks, and how one becomes text for a page and files beside it.

Draw them within ``style()``. Everything that is drawn in ``INK`` takes the colour of the page's text, light or dark;
all other colours are chosen to be read on both.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmd_model.registry import ablation
from tasks.progress import Progress

INK, SOFT = "#1d2733", "#8593a1"
MODALITY_COLOURS = {"text": "#4a8fd9", "vision": "#e0902f", "audio": "#3fa66a"}
SENTIMENT_COLOURS = {"negative": "#d1495b", "zero": SOFT, "positive": "#2a9d9d"}
SPLIT_COLOURS = {"train": "#8593a1", "valid": "#d9a940", "test": "#b05c9e", "": "#b9c2cb"}
DMD, ABLATED, OTHER = "#8b6bd6", "#b7a3e6", "#7a93ad"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dmd",
    "text.parse_math": False,  # words of a transcript may have dollar signs
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.linewidth": 0.7,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure and its numbers, one record a row of its CSV."""

    figure: Figure
    numbers: Sequence[Mapping[str, Any]]


def style():
    """The look that all figures share, as a context."""
    return rc_context(STYLE)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def colour(model: str) -> str:
    """Of a model, the same in every figure."""
    if ablation(model):
        return ABLATED
    return DMD if model.partition("@")[0] == "dmd" else OTHER


def svg(figure: Figure) -> str:
    """A figure as an element of a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)


def write(folder: Path, drawings: Mapping[str, Drawing]) -> dict[str, Markup]:
    """Write every drawing as ``<name>.svg``, ``.png`` and ``.csv``; the folder then holds these and nothing else.

    Returns each as an element of a page, by name.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    elements = {}
    with Progress("draw", total=len(drawings), unit="figure") as progress:
        for name, drawing in drawings.items():
            text = svg(drawing.figure)
            (partial / f"{name}.svg").write_text(text, encoding="utf-8")
            drawing.figure.set_layout_engine("none")  # it is laid out
            drawing.figure.savefig(partial / f"{name}.png", dpi=160, facecolor="white")
            with (partial / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
                table = csv.DictWriter(stream, fieldnames=list(drawing.numbers[0]) if drawing.numbers else [])
                table.writeheader()
                table.writerows(drawing.numbers)
            elements[name] = Markup(text.replace(INK, "currentColor"))
            progress.advance()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return elements
