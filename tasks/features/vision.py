"""What a face does, frame by frame: MediaPipe's blendshapes and the pose of the head."""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from storage.schema import Frames
from tasks.assets import ASSETS, fetch
from tasks.features import media

MODEL = "face_landmarker.task"

BLENDSHAPES = tuple(
    (
        "_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
        "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight "
        "eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft "
        "eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft "
        "mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight "
        "mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft "
        "mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft "
        "noseSneerRight"
    ).split()
)
"""The model's 52 coefficients in its order, each in [0, 1]; left and right are the person's."""

NOTE = re.compile(rb"[IW]\d{4} |INFO: Created TensorFlow|WARNING: Logging before InitGoogle")
"""How the lines begin that MediaPipe writes to the terminal for every landmarker, and that mean nothing to a user."""

HEAD_POSE = ("headPitch", "headYaw", "headRoll", "headX", "headY", "headZ")
"""Degrees (nose down, nose to the person's left, head tilted to the person's right shoulder are positive), then
centimetres from the camera (right in the picture, up, towards it are positive), of MediaPipe's canonical face."""


@dataclass(frozen=True)
class FaceLandmarker:
    """MediaPipe's Face Landmarker on the pictures of a segment.

    ``frames_per_second``: at most so many pictures a second; None takes all (the field's vision features have 15).
    ``min_face_share``: with a face in a smaller share of its pictures, a segment is refused.
    """

    frames_per_second: float | None = None
    min_face_share: float = 0.1

    columns: ClassVar[tuple[str, ...]] = (*BLENDSHAPES, *HEAD_POSE)

    def recipe(self) -> dict:
        return {
            **asdict(self),
            "code": 1,
            "mediapipe": version("mediapipe"),
            "av": version("av"),
            MODEL: ASSETS[MODEL].sha256,
        }

    def measure(self, path: Path, start: float = 0.0, end: float = math.inf) -> Frames:
        """One row a picture; mask False and zeros where no face was found.

        Raises ``MediaError``, with reason ``no_face`` where too few pictures show one.
        """
        times, rows = [], []
        # Tracking carries over from picture to picture, so every segment has a landmarker of its own (40 ms).
        with _landmarker() as detect:
            for time, rgb in media.frames(path, start, end, self.frames_per_second):
                times.append(time)
                rows.append(detect(rgb, time))
        mask = np.array([row is not None for row in rows])
        if mask.mean() < self.min_face_share:
            message = f"{path} shows a face in {mask.sum()} of {len(mask)} pictures between {start:g} and {end:g} s."
            raise media.MediaError("no_face", message)
        values = np.zeros((len(rows), len(self.columns)), np.float32)
        values[mask] = [row for row in rows if row is not None]
        return Frames(values, np.array(times, np.float64), mask)


@contextmanager
def _landmarker() -> Iterator:
    """A function (rgb uint8 [height, width, 3], seconds) -> the row of one face or None; times must rise."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=_model()),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with quiet_stderr():
        landmarker = vision.FaceLandmarker.create_from_options(options)
    last = -1

    def detect(rgb: np.ndarray, time: float) -> list[float] | None:
        nonlocal last
        last = max(last + 1, round(time * 1000))
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        found = landmarker.detect_for_video(image, last)
        if not found.face_blendshapes:
            return None
        scores = [shape.score for shape in found.face_blendshapes[0]]
        return scores + head_pose(found.facial_transformation_matrixes[0])

    with landmarker:
        yield detect


def head_pose(matrix: np.ndarray) -> list[float]:
    """HEAD_POSE of a 4 x 4 rigid transform whose rotation is Ry(yaw) Rx(pitch) Rz(roll)."""
    pitch = math.asin(max(-1.0, min(1.0, -matrix[1, 2])))
    yaw = math.atan2(matrix[0, 2], matrix[2, 2])
    roll = math.atan2(matrix[1, 0], matrix[1, 1])
    return [*np.degrees([pitch, yaw, roll]), *matrix[:3, 3]]


@cache
def _model() -> bytes:
    return fetch(MODEL).read_bytes()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps the native library's notes from the terminal; errors, and what others write meanwhile, come through."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            for line in written:
                if not NOTE.match(line):
                    os.write(2, line)
