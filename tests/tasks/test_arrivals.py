"""Arrivals: new data in the raw folder are counted, judged ones are left, and copies are waited for."""

from __future__ import annotations

import threading

import pytest

from storage.segments import table_digest
from tasks.arrivals import Arrivals, files_in, look, settled_changes
from tasks.champion import serving
from tasks.ingest import read_raw
from tests.tasks.judged_folder import JudgedFolder
from tests.tasks.labelled_data import labelled_data


@pytest.fixture
def folder(tmp_path) -> JudgedFolder:
    made = JudgedFolder(tmp_path)
    made.put("1")
    made.put("2")
    made.judge()
    return made


def seen(folder: JudgedFolder) -> Arrivals:
    return look.fn(folder.store, folder.raw, folder.inventory, None, True, folder.models, serving(folder.models))


def test_what_was_judged_is_nothing_new(folder):
    arrivals = seen(folder)
    assert arrivals.judged and (arrivals.new, arrivals.changed, arrivals.gone) == ((), (), ())
    assert arrivals.sentence.startswith("nothing new")


def test_new_changed_and_gone_segments_are_told_apart(folder):
    folder.put("2", b"another film")
    folder.put("3")
    del folder.rows["1"]
    folder.write()
    arrivals = seen(folder)
    assert not arrivals.judged
    assert (arrivals.new, arrivals.changed, arrivals.gone) == (("v$_$3",), ("v$_$2",), ("v$_$1",))


@pytest.mark.parametrize(("column", "value"), [(2, "hello here"), (3, "2.0"), (3, "")])
def test_another_text_or_label_is_a_change(folder, column, value):
    cells = folder.rows["2"].split(",")
    cells[column] = value
    folder.rows["2"] = ",".join(cells)
    folder.write()
    assert seen(folder).changed == ("v$_$2",)


def test_a_run_that_ended_before_its_decision_leaves_the_work_to_be_seen(folder):
    """The segment table and even the data set may be there: only a decision makes it judged."""
    folder.put("3")
    segments = read_raw(folder.raw)[0]
    folder.store.write_segments(segments)
    assert not seen(folder).judged
    folder.store.publish(folder.store.write_aligned({"of": table_digest(segments)}, labelled_data()))
    assert not seen(folder).judged
    folder.judge(promoted=False)
    arrivals = seen(folder)
    assert arrivals.judged and arrivals.new == ("v$_$3",), "since the champion, which is still the first"
    assert "1 new, 0 changed and 0 gone segments since" in arrivals.sentence


def test_a_row_that_cannot_be_used_is_no_segment(folder):
    folder.rows["lost"] = "v,lost,nobody filmed this,1.0"
    folder.write()
    arrivals = seen(folder)
    assert not arrivals.judged and arrivals.new == ()


def test_files_are_announced_once_they_have_settled(tmp_path):
    """A file that still grows is waited for, hidden ones are nobody's business, and a file that goes is a change."""
    (tmp_path / "Raw" / "v").mkdir(parents=True)
    growing = tmp_path / "Raw" / "v" / "1.mp4"
    (tmp_path / "label.csv").write_text("before")
    changes = settled_changes(tmp_path, files_in(tmp_path), settle_seconds=0.3, poll_seconds=0.02)
    sizes = []

    def copy() -> None:
        for _ in range(10):
            with growing.open("ab") as file:
                file.write(b"x" * 100)
            (tmp_path / ".partial").write_bytes(b"")
            stop.wait(0.1)
        sizes.append(growing.stat().st_size)

    stop = threading.Event()
    copier = threading.Thread(target=copy)
    copier.start()
    assert next(changes) == 1
    assert sizes == [1000], "not before the copy was whole"
    copier.join()
    growing.unlink()
    (tmp_path / "label.csv").write_text("after")
    assert next(changes) == 2
