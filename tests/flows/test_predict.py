"""From a video of one's own to its page, by a champion that was trained by the flow `dmd`."""

from __future__ import annotations

import csv
import json
from functools import partial

import numpy as np
import pytest

from flows.parameters import PredictParameters
from flows.predict import predict_video
from storage.feature_store import FeatureStore
from storage.schema import fingerprint
from tasks.features.ctc import CtcAligner
from tasks.features.sphinx import SphinxAligner
from tasks.predict import PredictionError, choose, training_of
from tests.flows.test_cli import dmd
from tests.tasks.joined_video import join


@pytest.fixture(scope="module")
def clips(corpus):
    with (corpus / "label.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mode"] == "test"][:2]
    return [(corpus / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4", row["text"]) for row in rows]


@pytest.fixture(scope="module")
def video(clips, tmp_path_factory):
    """Two segments of the test split in one recording, and its transcript beside it."""
    path = join([clip for clip, _ in clips], tmp_path_factory.mktemp("own") / "mine.mp4")
    path.with_suffix(".txt").write_text("\n".join(text for _, text in clips), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def parameters(finished, video, tmp_path_factory):
    """A function that makes the parameters of a prediction on the video."""
    run, output = finished.parameters(), tmp_path_factory.mktemp("predictions")

    def make(**changes) -> PredictParameters:
        standard = {"video": video, "transcript": video.with_suffix(".txt"), "dataset": run.dataset, "home": run.home}
        return PredictParameters(**{**standard, "to": output / "mine", **changes})

    return make


@pytest.fixture(scope="module")
def page(parameters):
    return predict_video(parameters())


def test_a_video_becomes_a_page_and_tables_of_its_segments_and_words(page, clips):
    record = json.loads((page.parent / "prediction.json").read_text(encoding="utf-8"))
    assert [segment["text"] for segment in record["segments"]] == [text for _, text in clips] and record["lost"] == []
    assert record["model"]["name"] == "dmd" and record["model"]["seeds"] == [1111]
    with (page.parent / "segments.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["prediction.mean"]) for row in rows] == [s["prediction"]["mean"] for s in record["segments"]]
    with (page.parent / "words.csv").open(encoding="utf-8") as file:
        words = list(csv.DictReader(file))
    assert [word["text"] for word in words] == [token for _, text in clips for token in text.split()]
    assert all(np.isfinite(float(word[f"occlusion.{m}.mean"])) for word in words for m in ("text", "vision", "audio"))
    assert page.read_text(encoding="utf-8").count('<article data-segment="') == 2


def test_a_segment_is_read_nearly_as_it_was_in_the_corpus(page, finished, clips):
    """The clip was cut out again by its pauses and coded once more, so its features differ a little."""
    run = choose(finished.parameters().models_folder, None).runs[0]
    tested = json.loads((run / "result.json").read_text())["predictions"]["test"]
    record = json.loads((page.parent / "prediction.json").read_text(encoding="utf-8"))
    for (clip, _), segment in zip(clips, record["segments"], strict=True):
        assert segment["prediction"]["mean"] == pytest.approx(tested[f"{clip.parent.name}$_${clip.stem}"], abs=0.15)


def test_what_was_measured_is_not_measured_again_and_scripts_get_all_numbers(page, parameters, capsys):
    store = FeatureStore.open(str(page.parent / "store"), create=False)
    before, run = store.digest(), parameters()
    options = ["--transcript", run.transcript, "--dataset", run.dataset, "--home", run.home, "--to", run.to, "--json"]
    code, said, _ = dmd(capsys, "predict", str(run.video), *map(str, options))
    assert code == 0 and json.loads(said) == json.loads((page.parent / "prediction.json").read_text(encoding="utf-8"))
    assert store.digest() == before


def test_a_model_of_pieces_and_frames_that_another_aligner_timed_reads_a_video_as_its_data_were_made(
    unpooled, parameters, ctc_model, clips, tmp_path
):
    page = predict_video(parameters(home=unpooled.folder, to=tmp_path / "mine"))
    record = json.loads((page.parent / "prediction.json").read_text(encoding="utf-8"))
    assert record["model"]["data"]["text"] == "pieces" and record["lost"] == []
    assert [segment["text"] for segment in record["segments"]] == [text for _, text in clips]
    for segment in record["segments"]:
        for word in segment["words"]:
            assert word["occlusion"]["text"]["mean"] is not None and word["prediction"]["mean"] is not None
        assert any(word["occlusion"]["vision"]["mean"] for word in segment["words"])
        assert any(word["occlusion"]["audio"]["mean"] for word in segment["words"])
    aligned_by = fingerprint({"aligner": CtcAligner(str(ctc_model)).recipe(), "trust_given": True})
    assert len(FeatureStore.open(str(page.parent / "store"), create=False).done("words", aligned_by)) == len(clips)


def test_face_and_voice_are_read_without_text(parameters, tmp_path):
    page = predict_video(parameters(transcript=None, without_text=True, to=tmp_path))
    record = json.loads((page.parent / "prediction.json").read_text(encoding="utf-8"))
    assert len(record["segments"]) >= 2
    for segment in record["segments"]:
        assert segment["heads"]["homogeneous"]["text"]["mean"] is None
        assert segment["words"][0]["occlusion"]["vision"]["mean"] is not None and segment["text"] == ""


def test_a_video_without_a_face_is_refused_in_a_sentence(parameters, clips, tmp_path):
    dark = join([clips[0][0]], tmp_path / "dark.mp4", brightness=0)
    (tmp_path / "said.txt").write_text(clips[0][1], encoding="utf-8")
    with pytest.raises(
        PredictionError, match="none of 1 segments can be read; the first: .* shows a face in 0 of"
    ) as no:
        predict_video(parameters(video=dark, transcript=tmp_path / "said.txt", to=tmp_path / "out"))
    assert no.value.reason == "no_face"


def test_words_aligned_in_another_way_are_refused(finished, monkeypatch):
    monkeypatch.setattr("tasks.align.SphinxAligner", partial(SphinxAligner, seed=1))
    with pytest.raises(PredictionError, match="words: dmd was trained on .* another make .seed 0 there, 1 here"):
        training_of(finished.store, choose(finished.parameters().models_folder, None))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "parameter --video requires an argument"),
        (["none.mp4", "--home", "{home}", "--dataset", "tiny"], "none.mp4 cannot be opened: No such file"),
        (["{video}", "--home", "{home}", "--dataset", "tiny", "--transcript", "{empty}"], "has no word in it"),
        (["{video}", "--home", "{home}", "--dataset", "tiny", "--model", "mult"], "no training of mult has ended"),
        (["{video}", "--home", "{empty}.d"], "has no champion yet"),
        (["{video}", "--pause", "0"], "greater than 0"),
        (["{video}", "--transcript", "{empty}", "--without-text"], "not both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_a_sentence(capsys, finished, video, tmp_path, arguments, sentence):
    (tmp_path / "empty.txt").write_text("")
    places = {"home": finished.folder, "video": video, "empty": tmp_path / "empty.txt"}
    code, _, complaint = dmd(capsys, "predict", *(text.format(**places) for text in arguments))
    assert code and sentence in complaint and "Traceback" not in complaint
