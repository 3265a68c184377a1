"""The report: whatever the data holds, one page that can be read, loads nothing and runs nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset, Failure, Frames, Word, fingerprint
from storage.segments import Segment, SegmentId
from tasks import figures
from tasks.evaluate import evaluate
from tasks.extract import Step
from tasks.report import boundaries_section, funnel_section, report
from tasks.train import train
from tasks.validate import Check, Verdict
from tests.tasks.labelled_data import labelled_data, publish

HOSTILE = "<script>alert(1)</script>&\"'<img src=x onerror=alert(2)>"
MATHS = (r"$\frac$", "$5-$10", "a_b^c", r"\alpha", "%", "{}", "né", "電影", "😀")
RECIPES = {name: {"made": name} for name in ("words", "glove", "bert", "vision", "audio")}
RECIPES["bert"]["encoder"] = "bert-base-uncased"
STEPS = [Step(name, fingerprint(recipe), ("x",)) for name, recipe in RECIPES.items()]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Glyph .* missing from font"),
    pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow"),
]


def verdict(folder: Path, *sentences: str) -> Verdict:
    checks = (Check(f"rule{i}", "critical", False, 0.5, 1.0, (), text) for i, text in enumerate(sentences))
    return Verdict(not sentences, (*checks, Check("fine", "critical", True, 1, 1, (), "All is well.")), folder / "docs")


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def funnel_store(folder: Path, lost: dict[int, tuple[str, str]], segments: list[Segment]) -> FeatureStore:
    """A store in which the segment of a row is lost at a step for a reason; all others come through."""
    store = FeatureStore.open(str(folder / "store"))
    store.write_segments(segments)
    usable = [segment for segment in segments if segment.failure is None and not segment.excluded]
    for step in STEPS:
        failed = {s.row: Failure(lost[s.row][1], f"{HOSTILE} in row {s.row}") for s in usable if s.row in lost}
        failed = {row: failure for row, failure in failed.items() if lost[row][0] == step.name}
        good = (Word("w", 0, 1),) if step.name == "words" else Frames(np.ones((1, 1)), np.zeros(1), np.ones(1, bool))
        results = {step.key(segment): failed.get(segment.row, good) for segment in usable}
        if step.name == "words":
            store.append_words(RECIPES["words"], results)
        else:
            store.append(step.name, RECIPES[step.name], ("x",), results)
    return store


def table(count: int) -> list[Segment]:
    return [
        Segment(
            SegmentId("v", str(row)),
            row,
            media=f"{row}.mp4",
            media_sha256=f"{row:064}",
            text=f"w{row}",
            label=1.0,
            split="train",
        )
        for row in range(2, count + 2)
    ]


def test_nothing_that_the_data_says_becomes_part_of_the_page(prefect_server, tmp_path):
    data = labelled_data()
    data = replace(
        data,
        ids=tuple(f"{HOSTILE}$_${row}" for row in range(len(data.ids))),
        words=(HOSTILE, *data.words[1:]),
        splits=(HOSTILE, *data.splits[1:]),
        columns=data.columns | {"vision": (HOSTILE, *data.columns["vision"][1:])},
    )
    store = FeatureStore.open(str(tmp_path / "store"))
    dataset = store.write_aligned({"made": "by hand"}, data)
    said = verdict(tmp_path, f"Every id is plain: 1 is not ({HOSTILE}).")
    path = report.fn(store, dataset, [], said, None, [], [], None, tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page and "not published" in page
    assert not re.search(r"<script|<img", page)
    assert svgs(page)


def test_results_stand_beside_the_mean_predictor_with_their_curves_and_edges(prefect_server, tmp_path, monkeypatch):
    from dmd_model.dmd import DMD
    from dmd_model.registry import configure

    config, training = configure("dmd")
    small = replace(config, d=8, heads=2, layers=1, memory_layers=1), replace(training, max_epochs=3)
    monkeypatch.setattr(DMD, "PRESETS", {"default": small})
    store, published = publish(tmp_path, labelled_data())
    runs = train.fn(store, published, ["dmd"], [1, 2], "glove", "cpu", tmp_path / "models")
    rows = evaluate.fn(store, published, runs, "mine")
    path = report.fn(
        store, published.fingerprint, [], verdict(tmp_path), published, rows, runs, None, tmp_path / "report.html"
    )
    page = path.read_text(encoding="utf-8")
    for row in rows:
        assert f"<td>{row.model}</td>" in page and row.cell("mae") in page
    for run in runs:
        assert f"{json.loads((run / 'result.json').read_text())['metrics']['test']['mae']:.3f}" in page
    texts = ["".join(figure.itertext()) for figure in svgs(page)]
    assert len(texts) == 5, "labels, lengths, curves, predictions, edges"
    assert any("dmd" in text and "valid error" in text for text in texts)
    assert any("HomoGD" in text and "HeteroGD" in text and "A←V" in text for text in texts)


def test_what_was_reported_is_not_drawn_again_and_what_is_new_is(prefect_server, tmp_path):
    store, published = publish(tmp_path, labelled_data())
    arguments = store, published.fingerprint, []
    path = report.fn(*arguments, verdict(tmp_path), published, [], [], None, tmp_path / "report.html")
    written = path.stat().st_mtime_ns
    report.fn(*arguments, verdict(tmp_path), published, [], [], None, tmp_path / "report.html")
    assert path.stat().st_mtime_ns == written
    report.fn(*arguments, verdict(tmp_path, "A face is seen."), published, [], [], None, tmp_path / "report.html")
    assert "A face is seen." in path.read_text(encoding="utf-8")


def test_the_funnel_loses_no_segment(prefect_server, tmp_path):
    segments = table(9)
    segments[0] = replace(segments[0], failure=Failure("bad_id", "a path"))
    segments[1] = replace(segments[1], excluded="duplicate_row")
    segments[8] = replace(segments[8], label=float("nan"))
    lost = {4: ("words", "silent"), 5: ("vision", "no_face"), 6: ("vision", "no_face"), 7: ("audio", "truncated")}
    store = funnel_store(tmp_path, lost, segments)
    with figures.style():
        section = funnel_section(store, STEPS)
    drawn = [int(text) for text in re.findall(r">\s*(\d+)</text>", section["funnel_figure"])]
    # labelled, found, decoded, aligned, faces, valid, used
    assert drawn == [9, 7, 6, 5, 3, 3, 2]
    assert {(loss["stage"], loss["reason"]): loss["count"] for loss in section["losses"]} == {
        ("found", "duplicate_row"): 1,
        ("found", "bad_id"): 1,
        ("decoded", "truncated"): 1,
        ("aligned", "silent"): 1,
        ("faces", "no_face"): 2,
        ("used", "no_label"): 1,
    }
    assert {entry["id"]: entry["reason"] for entry in section["lost"]} == {
        "v$_$2": "bad_id",
        "v$_$3": "duplicate_row",
        "v$_$4": "silent",
        "v$_$5": "no_face",
        "v$_$6": "no_face",
        "v$_$7": "truncated",
    }


def test_where_the_rows_came_from_is_told_with_their_known_errors(prefect_server, tmp_path):
    store = FeatureStore.open(str(tmp_path / "store"))
    erratum = {"video": "2WGyTLYerpo", "clip": "44", "what": HOSTILE, "action": "exclude", "label": "", "source": "it"}
    source = {"layout": "CMU-MOSI", "labels": "labels.csd", "splits": "official folds of cmu-mosi", "untold": 3}
    store.write_segments(table(3), source | {"errata": [erratum]})
    rows = store.segments()
    for step in STEPS:
        failure = {step.key(row): Failure("no_face", "none") for row in rows}
        if step.name == "words":
            store.append_words(RECIPES["words"], failure)
        else:
            store.append(step.name, RECIPES[step.name], ("x",), failure)
    empty = AlignedDataset((), (), np.zeros(0), (), np.zeros(1, np.int64), (), np.zeros(0), np.zeros(0), {}, {}, {})
    dataset = store.write_aligned({"made": "of nothing"}, empty)
    path = report.fn(store, dataset, STEPS, verdict(tmp_path), None, [], [], tmp_path, tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "Raw data: layout CMU-MOSI, rows of labels.csd, splits by official folds of cmu-mosi." in page
    assert "3 segments came without a text" in page and "whisper-tiny.en" in page
    assert "2WGyTLYerpo" in page and "exclude" in page and "&lt;script&gt;alert(1)" in page


def test_a_row_that_is_lost_anew_is_in_the_report_though_the_data_set_is_the_same(prefect_server, tmp_path):
    """The same segments, counts and checks, but another row of the label file is left out."""
    empty = AlignedDataset((), (), np.zeros(0), (), np.zeros(1, np.int64), (), np.zeros(0), np.zeros(0), {}, {}, {})
    pages = []
    for excluded in (0, 1):
        rows = [replace(s, excluded="repeated" if place == excluded else "") for place, s in enumerate(table(3))]
        store = funnel_store(tmp_path / f"store without {excluded}", {}, rows)
        dataset = store.write_aligned({"made": "by hand"}, empty)
        path = report.fn(
            store, dataset, STEPS, verdict(tmp_path), None, [], [], tmp_path / "raw", tmp_path / "report.html"
        )
        pages.append(path.read_text(encoding="utf-8"))
    assert ["v$_$2" in page for page in pages] == [True, False]
    assert ["v$_$3" in page for page in pages] == [False, True]


def test_boundary_errors_are_counted_to_the_limit():
    with figures.style():
        section = boundaries_section(np.array([0.0, 0.05, 0.0501, 0.2]))
    assert section["boundaries"]["count"] == 4 and section["boundaries"]["within_50"] == 50
    assert section["boundaries"]["median"] == pytest.approx(50.05)
    assert boundaries_section(np.empty(0)) == {}


@pytest.mark.parametrize("word", [HOSTILE, *MATHS])
def test_any_word_can_stand_in_the_picture_of_a_segment(word):
    """As it is written: a dollar sign is no formula."""
    with figures.style():
        drawn = figures.aligned_segment(
            np.zeros(16_000, np.float32), 16_000, [], [(word, 0.0, 0.5), ("b", 0.5, 1.0)], {word: np.array([0.0, 1.0])}
        )
    assert word in "".join(ElementTree.fromstring(drawn).itertext())


def test_a_segment_without_faces_or_tracks_can_be_drawn():
    with figures.style():
        ElementTree.fromstring(figures.aligned_segment(np.zeros(160, np.float32), 16_000, [], [("a", 0.0, 0.01)], {}))
