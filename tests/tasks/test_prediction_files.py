"""Files of a prediction: every number a mean over seeds with its deviation, at the right word."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tasks.prediction_figures import plus_minus
from tasks.prediction_files import _spread_of, _table, segment_records, spread, summary
from tests.tasks.prediction_records import SEGMENTS, WORDS, reading


def test_a_segment_has_the_prediction_after_its_last_word_and_times_are_those_of_the_video():
    found = reading()
    first, second = segment_records(found, SEGMENTS)
    assert [word["text"] for word in (*first["words"], *second["words"])] == list(WORDS)
    assert [(word["start"], word["end"]) for word in first["words"]] == [(0.6, 1.1), (1.1, 1.9)]
    for segment, last in ((first, 1), (second, 2)):
        seeds = found.predictions[:, last].astype(np.float64)
        assert segment["prediction"]["mean"] == pytest.approx(seeds.mean(), abs=1e-4)
        assert segment["prediction"]["std"] == pytest.approx(seeds.std(ddof=1), abs=1e-4)
        assert segment["words"][-1]["prediction"] == segment["prediction"]
        face = found.heads["homogeneous"][:, last, 1]
        assert segment["heads"]["homogeneous"]["vision"]["mean"] == pytest.approx(face.mean(), abs=1e-4)
        edge = found.edges["heterogeneous"][:, last, 5]  # from vision to audio, the last of the units' order
        assert segment["edges"]["heterogeneous"]["V→A"]["mean"] == pytest.approx(edge.mean(), abs=1e-4)
    added = found.occlusion[:, 0, 2]
    assert first["words"][0]["occlusion"]["audio"]["mean"] == pytest.approx(added.mean(), abs=1e-4)


def test_a_modality_that_is_absent_has_no_number():
    second = segment_records(reading(), SEGMENTS)[1]
    for values in (second["heads"]["homogeneous"], second["words"][0]["occlusion"]):
        assert values["text"] == {"mean": None, "std": None}
        assert all(None not in values[modality].values() for modality in ("vision", "audio"))


def test_one_seed_has_no_deviation():
    assert spread(np.array([[0.5, np.nan]])) == [{"mean": 0.5, "std": None}, {"mean": None, "std": None}]


def test_in_a_terminal_every_number_stands_with_its_deviation_or_says_that_it_is_unknown():
    model = {"name": "dmd", "label_range": [-3, 3], "spread": _spread_of(1), "test_mae": {"mean": 0.7, "std": None}}
    lost = {"start": 3.0, "end": 4.0, "message": "no face in it"}
    said = summary({"model": model, "segments": segment_records(reading(1), SEGMENTS), "lost": [lost]}).splitlines()
    assert said[0].endswith("off by 0.70 ± ? on average on its test split; ± unknown: it was trained with one seed")
    assert all("± ?" in line for line in said[:3]) and said[3] == "0:03–0:04  not read: no face in it"
    several = summary({"model": model, "segments": segment_records(reading(3), SEGMENTS), "lost": []}).splitlines()
    assert plus_minus(segment_records(reading(3), SEGMENTS)[0]["prediction"]) in several[1] and "?" not in several[1]


def test_tables_hold_a_row_a_word_and_name_what_is_nested():
    segments = segment_records(reading(), SEGMENTS)
    rows = list(csv.DictReader(io.StringIO(_table([word for segment in segments for word in segment["words"]]))))
    assert [row["text"] for row in rows] == list(WORDS)
    assert float(rows[1]["occlusion.vision.std"]) == segments[0]["words"][1]["occlusion"]["vision"]["std"]
    assert rows[2]["heads.homogeneous.text.mean"] == "" != rows[2]["heads.homogeneous.audio.mean"]
