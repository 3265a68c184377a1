"""The sample corpus is what it says: real files, true word times, and a label that each modality shows in part."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from tasks import assets
from tasks.sample import CorpusError, build
from tasks.sample_clip import ALIGN_UNITS
from tasks.sample_face import CONTROLS, FRAME_RATE, SIDE, Habit, animate, load_face
from tasks.sample_script import POLAR, TEMPLATES, draw_signals, split_videos, write_script, write_sentence
from tasks.sample_speech import SAMPLE_RATE, Delivery, speak
from tests.conftest import SEED, SEGMENTS


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def aligned_words(path: Path) -> list[tuple[int, int, str]]:
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(int(start), int(end), word) for start, end, word in rows]


@pytest.fixture(scope="session")
def face(sample_extra):
    return load_face()


# The script alone: many lines, no media


def test_each_signal_tells_part_of_the_label_and_their_sum_most_of_it():
    signals, labels = draw_signals(20_000, np.random.default_rng(0))
    alone = [np.corrcoef(signals[:, i], labels)[0, 1] for i in range(3)]
    assert all(0.5 <= correlation <= 0.65 for correlation in alone)
    assert 0.87 <= np.corrcoef(signals.sum(axis=1), labels)[0, 1] <= 0.92
    assert np.abs(labels).max() <= 3 and np.allclose(labels * 5, np.round(labels * 5), atol=1e-5)
    assert 1.2 < labels.std() < 1.6


def test_polarity_of_the_chosen_words_follows_the_signal():
    rng = np.random.default_rng(1)
    polarity = {}
    for slot in POLAR.values():
        for value, words in slot.items():
            for word in words.split():
                polarity.setdefault(word, []).append(value)
    signals = rng.normal(size=400)
    sentences = [write_sentence(signal, rng).split() for signal in signals]
    shown = [np.mean([np.mean(polarity[word]) for word in sentence if word in polarity]) for sentence in sentences]
    assert np.corrcoef(signals, shown)[0, 1] > 0.9
    assert all(6 <= len(sentence) <= 16 for sentence in sentences)


def test_articles_agree_with_the_next_word():
    rng = np.random.default_rng(2)
    pairs = {
        pair
        for signal in rng.normal(size=500)
        for words in [write_sentence(signal, rng).split()]
        for pair in zip(words, words[1:], strict=False)
    }
    assert not [pair for pair in pairs if pair[0] == "a" and pair[1][0] in "aeiou"]
    assert not [pair for pair in pairs if pair[0] == "an" and pair[1][0] not in "aeiou"]


@pytest.mark.parametrize("segments", [3, 12, 60, 240])
def test_videos_are_in_one_split_and_no_split_is_empty(segments):
    lines = write_script(segments, seed=3)
    assert len(lines) == segments
    assert {line.mode for line in lines} == {"train", "valid", "test"}
    assert len({(line.video_id, line.mode) for line in lines}) == len({line.video_id for line in lines})
    assert len({(line.video_id, line.clip_id) for line in lines}) == segments


def test_split_shares():
    modes = split_videos(100, np.random.default_rng(0))
    assert [modes.count(mode) for mode in ("train", "valid", "test")] == [70, 12, 18]


def test_script_depends_on_the_seed_alone():
    assert write_script(30, seed=5) == write_script(30, seed=5) != write_script(30, seed=6)


def test_too_few_segments_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="at least 3 segments.*2 were asked for"):
        build(tmp_path / "corpus", segments=2)
    assert not list(tmp_path.iterdir())


# The corpus


def test_layout_is_that_of_the_field(corpus):
    rows = table(corpus / "label.csv")
    assert list(rows[0]) == ["video_id", "clip_id", "text", "label", "annotation", "mode"]
    media = {f"{row['video_id']}/{row['clip_id']}.mp4" for row in rows}
    assert {str(path.relative_to(corpus / "Raw")) for path in corpus.glob("Raw/*/*.mp4")} == media
    assert len(media) == SEGMENTS
    for row in rows:
        assert row["annotation"] == ["Negative", "Neutral", "Positive"][int(np.sign(float(row["label"]))) + 1]
    truth = table(corpus / "truth.csv")
    assert [row["label"] for row in truth] == [row["label"] for row in rows]
    assert json.loads((corpus / "corpus.json").read_text()) == {"segments": SEGMENTS, "seed": SEED, "version": 1}


def test_clips_hold_picture_and_sound_of_one_length(corpus):
    for path in corpus.glob("Raw/*/*.mp4"):
        with av.open(path) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec.canonical_name, audio.codec.canonical_name) == ("h264", "aac")
            assert (video.width, video.height, video.average_rate) == (SIDE, SIDE, FRAME_RATE)
            pictures = sum(1 for _ in container.decode(video=0))
            container.seek(0)
            samples = sum(frame.samples for frame in container.decode(audio=0))
        assert pictures == video.frames
        assert 2 < pictures / FRAME_RATE < 6
        assert abs(pictures / FRAME_RATE - samples / SAMPLE_RATE) < 0.1


def test_true_times_name_the_tokens_and_cover_the_clip(corpus):
    for row in table(corpus / "label.csv"):
        path = corpus / "Raw" / row["video_id"] / f"{row['clip_id']}.align"
        entries = aligned_words(path)
        assert [word for _, _, word in entries] == ["sil", *row["text"].split(), "sil"]
        assert entries[0][0] == 0
        assert all(before[1] == after[0] for before, after in zip(entries, entries[1:], strict=False))
        assert all(end > start for start, end, _ in entries)
        with av.open(path.with_suffix(".mp4")) as container:
            video = container.streams.video[0]
            assert abs(entries[-1][1] / ALIGN_UNITS - float(video.duration * video.time_base)) <= 1 / FRAME_RATE


def test_sound_is_where_the_true_times_say(corpus):
    """Heard in the decoded file: the outer silences are far quieter than the words between them."""
    for path in corpus.glob("Raw/*/*.mp4"):
        with av.open(path) as container:
            audio = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        entries = aligned_words(path.with_suffix(".align"))
        (_, first, _), (last, _, _) = entries[0], entries[-1]
        begin, end = (round(units / ALIGN_UNITS * SAMPLE_RATE) for units in (first, last))
        quiet = np.concatenate([audio[: begin - 1000], audio[end + 1000 :]])
        assert np.sqrt((audio[begin:end] ** 2).mean()) > 20 * np.sqrt((quiet**2).mean())


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    again = build(tmp_path / "again", SEGMENTS, SEED)
    assert digests(again) == digests(corpus)
    assert not list(tmp_path.glob(".*"))


def test_what_is_built_is_left_alone_and_what_is_not_ours_too(corpus, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert build(corpus, SEGMENTS, SEED) == corpus
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    with pytest.raises(CorpusError, match="choose another folder"):
        build(corpus, SEGMENTS, SEED + 1)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CorpusError, match="holds something else"):
        build(tmp_path, SEGMENTS, SEED)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


# What the face and the voice show


def blendshapes(face, moves: dict[str, float]) -> dict[str, float]:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    controls = np.array([[moves.get(name, 0.0) for name in CONTROLS]])
    (frame,) = face.frames(controls, np.ones(3))
    model = BaseOptions(model_asset_path=str(assets.fetch("face_landmarker.task")))
    options = vision.FaceLandmarkerOptions(base_options=model, output_face_blendshapes=True)
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
        (shapes,) = landmarker.detect(image).face_blendshapes
    return {shape.category_name: shape.score for shape in shapes}


def test_gestures_move_the_blendshapes_they_are_named_for(face):
    rest = blendshapes(face, {})
    assert blendshapes(face, {"smile": -0.2})["mouthSmileLeft"] < 0.3 < 0.7 < rest["mouthSmileLeft"]
    assert blendshapes(face, {"jaw": 0.11})["jawOpen"] > rest["jawOpen"] + 0.08
    assert blendshapes(face, {"brows": 0.06})["browOuterUpLeft"] > rest["browOuterUpLeft"] + 0.1
    assert blendshapes(face, {"brows": -0.06})["browDownLeft"] > rest["browDownLeft"] + 0.05
    assert blendshapes(face, {"blink": 0.12})["eyeBlinkLeft"] > rest["eyeBlinkLeft"] + 0.1


def test_the_eye_corners_are_about_120_pixels_apart(face):
    assert 110 < face.eye_distance < 130


def test_a_happier_signal_smiles_more_and_the_mouth_follows_the_sound():
    waveform = np.concatenate([np.zeros(SAMPLE_RATE), np.sin(np.arange(SAMPLE_RATE) / 20)]).astype(np.float32)
    rest = Habit(smile=0.0, brows=0.0, zoom=0.0, tint=(1.0, 1.0, 1.0))
    sad, happy = (
        animate(waveform, SAMPLE_RATE, signal, rest, np.random.default_rng(0))[:, CONTROLS.index("smile")].mean()
        for signal in (-2.0, 2.0)
    )
    assert happy > sad + 0.1
    jaw = animate(waveform, SAMPLE_RATE, 0.0, rest, np.random.default_rng(0))[:, CONTROLS.index("jaw")]
    assert jaw.shape == (2 * FRAME_RATE,)
    assert jaw[: FRAME_RATE - 2].max() < 0.01 < 0.1 < jaw[FRAME_RATE + 2 : -2].min()


def test_word_times_scale_with_pitch_and_rate(sample_extra):
    text = "the whole movie is wonderful"
    plain, _ = speak(text, Delivery(rate=1.0, pitch=1.0, gain=0.0), np.random.default_rng(0))
    fast, fast_words = speak(text, Delivery(rate=1.2, pitch=1.0, gain=0.0), np.random.default_rng(0))
    high, high_words = speak(text, Delivery(rate=1.0, pitch=1.2, gain=0.0), np.random.default_rng(0))
    loud, _ = speak(text, Delivery(rate=1.0, pitch=1.0, gain=6.0), np.random.default_rng(0))
    assert len(fast) < 0.93 * len(plain)
    assert abs(len(high) - len(plain)) < 0.1 * len(plain)  # piper rounds each sound up to whole frames
    assert np.abs(loud).mean() > 1.8 * np.abs(plain).mean()
    for waveform, words in ((fast, fast_words), (high, high_words)):
        assert [word.text for word in words] == text.split()
        assert words[-1].end < len(waveform) / SAMPLE_RATE


def test_every_template_has_true_word_times(sample_extra):
    """espeak keeps the words of every template apart, whatever fills it."""
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemizer, rng = EspeakPhonemizer(), np.random.default_rng(4)
    for _ in range(60 * len(TEMPLATES)):
        text = write_sentence(rng.normal(), rng)
        (phonemes,) = phonemizer.phonemize("en-us", text)
        assert len("".join(phonemes).split(" ")) == len(text.split()), text


def test_words_that_run_together_are_refused(sample_extra):
    with pytest.raises(ValueError, match="runs words together in 'i saw it in the theater'"):
        speak("i saw it in the theater", Delivery(1.0, 1.0, 0.0), np.random.default_rng(0))
