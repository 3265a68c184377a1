"""The floor of extraction: each library alone, in a bare loop over the clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.warm_pipeline import tools
from storage.segments import Segment
from tasks import assets
from tasks.align import POCKETSPHINX, aligner_named
from tasks.features import media
from tasks.features.vision import no_telemetry


def bare_loops(raw: Path, segments: Sequence[Segment]) -> dict[str, float]:
    """CPU seconds of each library alone, over all clips."""
    rate = tools()["vision"].frames_per_second
    aligner, acoustics, encode = aligner_named(POCKETSPHINX), tools()["audio"], encoder()
    loops = {
        "text encoder": lambda path, tokens: encode(tokens),
        "decode + landmarker": lambda path, tokens: landmarks(path, rate),
        "decode + acoustics": lambda path, tokens: acoustics.of_waveform(sound(path)),
        "decode + aligner": lambda path, tokens: aligner.align(sound(path), tokens),
    }
    taken = {}
    with threadpool_limits(1):  # as in a worker
        for name, loop in loops.items():
            began = time.process_time()
            for segment in segments:
                loop(raw / segment.media, segment.text.split())
            taken[name] = time.process_time() - began
    return taken


def encoder() -> Callable[[list[str]], object]:
    import torch
    import transformers

    torch.set_num_threads(1)
    folder = assets.fetch(tools()["bert"].encoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(tokens: list[str]):
        with torch.inference_mode():
            return model(**tokenizer(tokens, is_split_into_words=True, return_tensors="pt")).last_hidden_state.numpy()

    return encode


def landmarks(path: Path, rate: float | None) -> None:
    """Decode the pictures and run the landmarker on at most ``rate`` of them a second."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=assets.fetch("face_landmarker.task").read_bytes()),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    due = 0.0
    create = vision.FaceLandmarker.create_from_options
    with no_telemetry(), create(options) as landmarker, av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            if rate is not None and frame.time < due - 1e-6:
                continue
            due += 1 / rate if rate is not None else 0
            picture = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            landmarker.detect_for_video(mediapipe.Image(mediapipe.ImageFormat.SRGB, picture), int(1000 * frame.time))


def sound(path: Path) -> np.ndarray:
    """The sound as 16 kHz mono."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", media.SAMPLE_RATE)
        frames = [*container.decode(audio=0), None]
        return np.concatenate([piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)])
