"""The page of one video: all of it in one file, every word a button, nothing that the words say taken for markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import av
import pytest

from tasks import prediction_page
from tasks.features import media
from tasks.playable import playable
from tasks.prediction_figures import clock, plus_minus, share
from tasks.prediction_files import segment_records
from tests.tasks.joined_video import join
from tests.tasks.prediction_records import SEGMENTS, WORDS, reading


class Elements(HTMLParser):
    """Every start tag with its attributes and the text that follows it."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), ""))

    def handle_data(self, data):
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = tag, attributes, text + data


@pytest.fixture(scope="module")
def clip(corpus):
    return next(corpus.glob("Raw/*/*.mp4"))


@pytest.fixture(scope="module")
def video(clip, tmp_path_factory):
    return join([clip], tmp_path_factory.mktemp("own") / "my video #1.mp4")


def record(seeds: int = 3) -> dict:
    model = {
        "name": "dmd",
        "seeds": list(range(seeds)),
        "data": {"tag": "aligned-1", "text": "glove"},
        "label_range": [-3, 3],
        "test_mae": {"mean": 0.7, "std": 0.1 if seeds > 1 else None},
    }
    lost = {"id": "003", "start": 3.0, "end": 4.0, "text": "", "reason": "no_face", "message": "no face in it"}
    found = json.loads(json.dumps(segment_records(reading(seeds), SEGMENTS)))
    return {"model": model, "segments": found, "lost": [lost]}


@pytest.fixture
def written(video, tmp_path, monkeypatch):
    """A function that writes the page of a record and reads it."""
    monkeypatch.setattr(prediction_page, "create_link_artifact", lambda *_, **__: None)

    def write(found: dict) -> str:
        strip = prediction_page._strip(video, 0, media.probe(video).duration)
        return prediction_page.prediction_page.fn(video, found, strip, tmp_path).read_text(encoding="utf-8")

    return write


def test_the_page_is_one_file_with_a_button_for_every_word(written):
    page = written(record())
    elements = Elements(page).found
    words = [(attributes, text.strip()) for tag, attributes, text in elements if tag == "button" and text.strip()]
    assert [text for _, text in words] == list(WORDS)
    assert [(float(at["data-start"]), float(at["data-end"])) for at, _ in words] == [(0.6, 1.1), (1.1, 1.9), (2.5, 3.0)]
    loaded = [at[name] for _, at, _ in elements for name in ("src", "href") if name in at]
    assert all(re.match(r"data:(video|image)/|(prediction\.json|(segments|words)\.csv)$", at) for at in loaded)
    assert sum(address.startswith("data:video/mp4") for address in loaded) == 1
    assert sum(address.startswith("data:image/jpeg") for address in loaded) >= 2
    assert page.count("<script>") == 2 == page.count("<script") and "no face in it" in page


def test_numbers_stand_with_their_deviation_and_a_single_seed_with_a_question_mark(written):
    several, single = record(3), record(1)
    assert plus_minus(several["segments"][0]["prediction"]) in written(several)
    page = written(single)
    assert "with a single seed that deviation is not known" in page and "± ?" in page and "None" not in page


def test_models_without_heads_have_no_graphs(written):
    found = record()
    for segment in found["segments"]:
        segment["heads"], segment["edges"] = {}, {}
        for word in segment["words"]:
            word["heads"] = {}
    page = written(found)
    assert "Who teaches whom" not in page and "language alone" not in page and "each word adds by face" in page


def test_a_large_video_is_played_from_beside_the_page(written, video, monkeypatch):
    monkeypatch.setattr(prediction_page, "EMBEDDED_BYTES", 1000)
    page = written(record())
    (source,) = [at["src"] for tag, at, _ in Elements(page).found if tag == "video"]
    assert source.endswith("/my%20video%20%231.mp4") and "move both together" in page


def test_what_browsers_play_is_left_and_the_rest_copied(video, clip, tmp_path):
    sound = media.waveform(video)
    assert playable(video, tmp_path, sound) == video
    old = join([clip], tmp_path / "old.avi")
    copy = playable(old, tmp_path, media.waveform(old))
    assert copy == tmp_path / "video.mp4" and not list(tmp_path.glob(".*"))
    with av.open(str(copy)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    assert media.probe(copy).duration == pytest.approx(media.probe(old).duration, abs=0.15)


def test_times_values_and_places_are_written_as_people_read_them():
    assert [clock(seconds) for seconds in (0, 9.5, 60, 61.25, 3600)] == ["0:00", "0:09.5", "1:00", "1:01.2", "60:00"]
    assert plus_minus({"mean": -0.5, "std": 0.25}) == "−0.50 ± 0.25" and plus_minus({"mean": None, "std": None}) == "–"
    assert [share(value, (-3, 3)) for value in (-9, -3, 0, 1.5, 9)] == [0, 0, 50, 75, 100]
