"""The examples of docs/own-data.md are read as they stand there, and the README points to what there is."""

from __future__ import annotations

import re

from tasks.labels import OPTIONAL, OWN_NAMES, REQUIRED
from tests.conftest import REPOSITORY
from tests.tasks.raw_folders import corpus, failures, read_segments

PAGE = (REPOSITORY / "docs" / "own-data.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_videos_alone_and_with_their_labels(tmp_path):
    raw = corpus(tmp_path, *blocks("files")[0].split()) / "my_data"
    alone = read_segments(raw)
    assert [segment.media for segment in alone] == ["holiday.mp4", "work.mov"] and not failures(alone)
    (raw / "label.csv").write_text(blocks("csv")[0])
    labelled = read_segments(raw)
    assert [(s.media, s.start, s.end, s.label, s.split) for s in labelled] == [
        ("holiday.mp4", 12.5, 15.0, 2, "train"),
        ("holiday.mp4", 15.0, 17.5, -1, "train"),
        ("work.mov", 0, float("inf"), 0, "test"),
    ]
    assert labelled[1].text == "well, not so great" and not failures(labelled)


def test_clips_as_mmsa_keeps_them(tmp_path):
    raw = corpus(tmp_path, *blocks("files")[1].split()) / "my_data"
    (raw / "label.csv").write_text(blocks("csv")[1])
    segments = read_segments(raw)
    assert [segment.media for segment in segments] == ["Raw/03bSnISJMiM/11.mp4", "Raw/03bSnISJMiM/12.mp4"]
    assert not failures(segments)


def test_every_column_is_documented():
    for column in (*OWN_NAMES, *REQUIRED, *OPTIONAL):
        assert re.search(rf"\b{column}\b", PAGE), column


def test_what_the_readme_links_to_is_there():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links and [link for link in links if not (REPOSITORY / link).exists()] == []
