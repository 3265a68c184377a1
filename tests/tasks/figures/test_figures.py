"""Every figure is an element of the page and three files beside it, whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.figures import ABLATED, DMD, INK, OTHER, Drawing, canvas, colour, style, write
from tasks.figures.insides import _apart


def drawing(*rows: int) -> Drawing:
    with style():
        figure, axes = canvas(2, 2)
        axes.bar(range(len(rows)), rows)
    return Drawing(figure, [{"bar": place, "height, m": height} for place, height in enumerate(rows)])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_figure_takes_the_colour_of_the_pages_text_and_its_files_do_not(tmp_path):
    with style():
        elements = write(tmp_path / "figures", {"bars": drawing(1, 2)})
    assert files(tmp_path / "figures") == {"bars.svg", "bars.png", "bars.csv"}
    ElementTree.fromstring(elements["bars"])
    assert "currentColor" in elements["bars"] and INK not in elements["bars"]
    assert INK in (tmp_path / "figures" / "bars.svg").read_text()
    assert (tmp_path / "figures" / "bars.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "figures" / "bars.csv").open() as stream:
        assert list(csv.reader(stream)) == [["bar", "height, m"], ["0", "1"], ["1", "2"]]


def test_the_folder_holds_the_figures_of_the_page_and_no_older_ones(tmp_path):
    with style():
        write(tmp_path / "figures", {"old": drawing(1), "kept": drawing(1)})
        write(tmp_path / "figures", {"kept": drawing(2)})
    assert files(tmp_path / "figures") == {"kept.svg", "kept.png", "kept.csv"} and files(tmp_path) == {"figures"}


def test_drawing_that_fails_leaves_the_older_figures(tmp_path):
    with style():
        write(tmp_path / "figures", {"kept": drawing(1)})
        with pytest.raises(AttributeError):
            write(tmp_path / "figures", {"new": drawing(1), "bad": Drawing(None, [])})
    assert files(tmp_path / "figures") == {"kept.svg", "kept.png", "kept.csv"}


def test_a_model_has_one_colour_and_dmd_stands_out():
    assert [colour(name) for name in ("dmd", "dmd@official-mosi", "dmd@no-fd", "mult", "misa@mosei")] == [
        DMD, DMD, ABLATED, OTHER, OTHER,
    ]  # fmt: skip


def test_names_beside_lines_that_end_together_stand_apart_in_the_lines_order():
    ends = np.array([0.5, 0.1, 0.5, 0.51])
    places = _apart(ends, 0.1)
    assert np.diff(np.sort(places)).min() >= 0.1 - 1e-9 and places.mean() == pytest.approx(ends.mean())
    assert np.argsort(places, kind="stable").tolist() == np.argsort(ends, kind="stable").tolist()
