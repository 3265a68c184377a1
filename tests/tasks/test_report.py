"""The report: whatever the data holds, one page that can be read, loads nothing and runs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset, Failure
from tasks.evaluate import Row, evaluate
from tasks.report import report
from tasks.train import train
from tasks.validate import Check, Verdict
from tests.browser import chromium
from tests.tasks.funnel_store import HOSTILE, RECIPES, STEPS, funnel_store, table
from tests.tasks.labelled_data import labelled_data, publish

pytestmark = [
    pytest.mark.filterwarnings("ignore:Glyph .* missing from font"),
    pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow"),
]


@dataclass(frozen=True)
class Reported:
    """A page with the results of several models, and what it was made of."""

    page: Path
    rows: list[Row]
    runs: list[Path]

    @property
    def text(self) -> str:
        return self.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reported(prefect_server, tmp_path_factory) -> Iterator[Reported]:
    """DMD, one of its ablations and another model, small, two seeds each; the words of the data are hostile."""
    from dmd_model.baselines.lmf import LMF
    from dmd_model.dmd import DMD
    from dmd_model.registry import configure

    folder = tmp_path_factory.mktemp("reported")
    presets = {DMD: {"default": "dmd", "no-homogd": "dmd@no-homogd"}, LMF: {"mosi": "lmf"}}
    with pytest.MonkeyPatch.context() as patch:
        for model, names in presets.items():
            small = {}
            for preset, name in names.items():
                config, training = configure(name)
                size = {"d": 8, "heads": 2} if model is DMD else {}
                small[preset] = replace(config, **size), replace(training, max_epochs=3)
            patch.setattr(model, "PRESETS", small)
        data = labelled_data()
        store, published = publish(folder, replace(data, words=(HOSTILE, *data.words[1:])))
        models = ["lmf", "dmd", "dmd@no-homogd"]
        runs = train.fn(store, published, models, [1, 2], "glove", "cpu", folder / "models")
        rows = evaluate.fn(store, published, runs, "MOSI-mine")
        page = report.fn(
            store, published.fingerprint, [], verdict(folder), published, rows, runs, None, folder / "report.html"
        )
        yield Reported(page, rows, runs)


def verdict(folder: Path, *sentences: str) -> Verdict:
    checks = (Check(f"rule{i}", "critical", False, 0.5, 1.0, (), text) for i, text in enumerate(sentences))
    return Verdict(not sentences, (*checks, Check("fine", "critical", True, 1, 1, (), "All is well.")), folder / "docs")


def svgs(page: str) -> list[ElementTree.Element]:
    """The figures; the histograms in tables are none."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg (?!class).*?</svg>", page, flags=re.DOTALL)]


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
    assert page.count("<script") == 1 and "<img" not in page, "the script that sorts tables"
    assert svgs(page)


def test_results_stand_beside_the_mean_predictor_every_run_and_what_was_published(reported):
    for row in reported.rows:
        assert row.cell("mae") in reported.text
    models, ablations = reported.text.split('id="ablations"')
    assert [f'<td class="name">{model}</td>' in models for model in ("mean of training labels", "lmf", "dmd")] == [
        True
    ] * 3
    assert '<td class="name">dmd@no-homogd</td>' not in reported.text, "it stands in the table of ablations"
    assert ablations.count("✗") == 1
    for run in reported.runs:
        metrics = json.loads((run / "result.json").read_text())["metrics"]["test"]
        assert f"{metrics['mae']:.3f}" in models and f"{100 * metrics['acc7']:.1f}" in models
    assert "41.4 / 84.5 / 84.4" in models and "Li et al. 2023" in models
    assert json.loads((reported.runs[0] / "data.json").read_text())["snapshot"] in models


def test_every_figure_is_on_the_page_and_in_three_files_that_it_links(reported):
    names = {path.stem for path in reported.page.with_name("report-figures").iterdir()}
    assert names == {
        "labels", "lengths", "training_curves", "confusion", "confusions", "predictions", "differences",
        "edge_curves", "edge_graphs", "unimodal", "spaces",
    }  # fmt: skip
    assert len(svgs(reported.text)) == len(names)
    links = re.findall(r'href="(report-figures/[^"]+)"', reported.text)
    assert sorted(links) == sorted(f"report-figures/{name}.{kind}" for name in names for kind in ("svg", "png", "csv"))
    assert all((reported.page.parent / link).stat().st_size for link in links)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)], ids=["desktop, light", "phone, dark"])
def test_the_page_is_no_wider_than_the_window_and_complains_of_nothing(reported, width, dark, tmp_path):
    with chromium(tmp_path) as browser:
        seen = browser.open(reported.page, width, dark)
    assert seen.content_width == width
    assert seen.complaints == []
    asked_for = [address for address in seen.asked_for if not address.startswith("data:")]
    assert asked_for == [reported.page.as_uri()], "it loads nothing"


def test_a_click_on_a_head_sorts_the_table_by_it_and_the_third_leaves_it_as_it_was(reported, tmp_path):
    column = [row.mean["mae"] for row in reported.rows if "@" not in row.model]
    shown = [f"{value:.3f}" for value in column]
    head = "document.querySelectorAll('#results thead')[0].rows[0].cells[2]"
    cells = "[...document.querySelectorAll('#results tbody')[0].rows].map(row => row.cells[2].innerText.slice(0, 5))"
    with chromium(tmp_path) as browser:
        browser.open(reported.page, 1200)
        seen = [json.loads(browser.evaluate(f"JSON.stringify({cells})"))]
        ways = []
        for _ in range(3):
            browser.evaluate(f"{head}.querySelector('button').click()")
            seen.append(json.loads(browser.evaluate(f"JSON.stringify({cells})")))
            ways.append(browser.evaluate(f"{head}.ariaSort"))
    assert seen == [shown, sorted(shown), sorted(shown, reverse=True), shown]
    assert ways == ["ascending", "descending", None]


def test_what_was_reported_is_not_drawn_again_and_what_is_new_is(prefect_server, tmp_path):
    store, published = publish(tmp_path, labelled_data())
    arguments = store, published.fingerprint, []
    path = report.fn(*arguments, verdict(tmp_path), published, [], [], None, tmp_path / "report.html")
    written = path.stat().st_mtime_ns
    report.fn(*arguments, verdict(tmp_path), published, [], [], None, tmp_path / "report.html")
    assert path.stat().st_mtime_ns == written
    report.fn(*arguments, verdict(tmp_path, "A face is seen."), published, [], [], None, tmp_path / "report.html")
    assert "A face is seen." in path.read_text(encoding="utf-8")


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
