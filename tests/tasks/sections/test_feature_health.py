"""The health of columns: the figures are those of the data, whatever the data are."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset_tables import segment_means
from tasks.features import audio, vision
from tasks.sections.feature_health import (
    BINS,
    MADE_TO_SHOW,
    SHOWN,
    column_health,
    correlation,
    health_section,
    recovered,
    segments_of_several_faces,
)
from tests.tasks.labelled_data import labelled_data, unaligned_data


def with_vision(data, columns: dict[str, np.ndarray]):
    """The data set with these columns, [W] each, as all of its vision, measured everywhere."""
    values = np.stack(list(columns.values()), axis=1).astype(np.float32)
    return replace(
        data,
        features=data.features | {"vision": values},
        masks=data.masks | {"vision": np.ones(len(values), bool)},
        columns=data.columns | {"vision": tuple(columns)},
    )


@pytest.mark.parametrize("data", [labelled_data(), unaligned_data()], ids=["aligned", "unaligned"])
def test_segment_means_are_those_of_the_measured_rows(data):
    means = segment_means(data, "audio")
    offsets = data.feature_offsets("audio")
    for segment, (first, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        measured = data.features["audio"][first:stop][data.masks["audio"][first:stop]]
        expected = measured.mean(axis=0) if len(measured) else np.full(3, np.nan)
        np.testing.assert_allclose(means[segment], expected, atol=1e-6)


def test_correlation_leaves_out_what_is_unknown_and_has_none_for_a_constant():
    target = np.array([1.0, 2.0, 3.0, np.nan, 5.0])
    values = np.array([[2, 4, 6, 9, 10], [3, 2, np.nan, 0, -1], [7, 7, 7, 8, 7], [1, np.nan, np.nan, 3, 2]]).T
    found = correlation(values, target)
    assert found[:2] == pytest.approx([1.0, -1.0]) and found[2:] == [None, None]


def test_the_column_that_tells_the_label_comes_first_with_its_percentiles_and_bars():
    data = labelled_data()
    labels = np.repeat(np.nan_to_num(data.labels), np.diff(data.offsets))
    ramp = np.linspace(0, 1, len(labels))
    first, *_ = column_health(with_vision(data, {"ramp": ramp, "AU12": -labels}), "vision")
    assert first.name == "AU12" and first.correlation == pytest.approx(-1)
    (even,) = [c for c in column_health(with_vision(data, {"ramp": ramp}), "vision") if c.name == "ramp"]
    np.testing.assert_allclose(even.percentiles, [0.05, 0.5, 0.95], atol=1e-6)
    assert len(even.bars) == BINS and max(even.bars) == 1 and min(even.bars) > 0.2
    assert even.path.count("h1") == BINS


def test_units_are_those_of_the_instruments():
    columns = {column.name: np.arange(60.0) for column in vision.COLUMNS[70:]}
    data = labelled_data()
    data = with_vision(data, {name: np.resize(values, len(data.words)) for name, values in columns.items()})
    units = {column.name: column.unit for column in column_health(data, "vision")}
    assert units["headYaw"] == "degrees" and units["headX"] == "cm"


def test_columns_that_were_never_measured_or_have_no_label_are_shown_as_that():
    data = labelled_data()
    data = replace(data, masks=data.masks | {"audio": np.zeros(len(data.words), bool)}, labels=data.labels * np.nan)
    assert all(column.bars == () and column.correlation is None for column in column_health(data, "audio"))
    page = str(health_section(data, None))
    assert "0.0 % of words measured, nothing in 21 of 21 segments" in page and "not measured" in page


def test_every_column_is_in_the_section_and_long_tables_are_folded():
    data = labelled_data()
    random = np.random.default_rng(0)
    columns = {column.name: random.normal(size=len(data.words)) for column in audio.COLUMNS}
    page = str(health_section(with_vision(data, columns), None))
    assert all(f"<td>{name}</td>" in page for name in columns)
    assert f"The other {74 - SHOWN} columns of vision" in page
    assert "<script" not in page


def test_names_of_columns_cannot_become_part_of_the_page():
    data = labelled_data()
    page = str(health_section(with_vision(data, {"<script>alert(1)</script>": np.arange(len(data.words))}), None))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_segments_with_several_faces_are_counted():
    data = labelled_data()
    faces = np.ones(len(data.words))
    faces[data.offsets[3]] = faces[data.offsets[5]] = 2
    data = with_vision(data, {"faces": faces})
    assert segments_of_several_faces(data) == 2
    assert "More than one face is seen in 2 of 21 segments: the largest" in str(health_section(data, None))
    assert segments_of_several_faces(labelled_data()) is None


def test_what_was_made_to_show_is_found_again(tmp_path: Path):
    """The face signal is in AU12 and the voice signal in the speech rate; a corpus without the truth has no table."""
    data = labelled_data()
    counts = np.diff(data.offsets)
    random = np.random.default_rng(0)
    face = random.normal(size=len(counts))
    starts = np.concatenate([np.arange(count) * 0.5 for count in counts])
    data = replace(data, starts=starts, ends=starts + 0.5)
    data = with_vision(data, {"AU12": np.repeat(face, counts), "AU2": random.normal(size=len(data.words))})
    with (tmp_path / "truth.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video_id", "clip_id", "label", "words", "face", "voice"))
        known = list(enumerate(data.ids))[:-1]  # the last has come since
        table.writerows((*name.split("$_$"), 0, 0, face[row], face[row]) for row, name in known)
    pairs = {pair["what"]: pair for pair in recovered(data, tmp_path / "truth.csv")}
    assert pairs["smile"]["correlation"] == pytest.approx(1) and pairs["smile"]["column"] == "vision AU12"
    assert abs(pairs["raised brows"]["correlation"]) < 0.6
    assert pairs["speech rate"]["correlation"] is None, "always two words a second"
    assert pairs.keys() == {"smile", "raised brows", "speech rate"}, "there is no pitch or loudness in this audio"
    assert "What was made to show" in str(health_section(data, tmp_path))
    assert "What was made to show" not in str(health_section(data, tmp_path / "elsewhere"))
    assert {column for _, _, (name, column) in MADE_TO_SHOW if name} <= {
        column.name for column in (*vision.COLUMNS, *audio.COLUMNS)
    }
