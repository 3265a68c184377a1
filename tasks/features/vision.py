"""What a face does, frame by frame: MediaPipe's blendshapes, action units, the pose of the head, and the gaze."""

from __future__ import annotations

import io
import math
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from storage.schema import Frames
from tasks.assets import ASSETS, fetch
from tasks.features import face_geometry, media
from tasks.features.columns import Column, names
from tasks.features.facs import ACTION_UNITS, action_units

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

LOOK_SECONDS = 1.0
"""How often all faces are looked for. A look costs a fifth of a picture's landmarks, so one a second is cheap; two
faces in every picture would cost as much for every picture, and MediaPipe smooths the landmarks of one face only."""

COLUMNS: tuple[Column, ...] = (
    *(
        Column(name, "", "face blendshapes", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).strip("_").lower(), (0, 1))
        for name in BLENDSHAPES
    ),
    *(unit.column for unit in ACTION_UNITS),
    *face_geometry.HEAD_POSE,
    *face_geometry.EYES,
    *face_geometry.BOX,
    Column("faces", "", "face detector, once a second", "how many are seen, the measured one included", (1, 100)),
    Column("faceScore", "", "face detector, once a second", "its score for the face; 0 if it missed it", (0, 1)),
)
"""MediaPipe gives no confidence for landmarks, blendshapes or the pose of a face: the detector's score is all."""

NOTE = re.compile(
    rb"[IW]\d{4} |INFO: (Created TensorFlow|\[(environment|\w+_registry|compiled_model)\.cc)|"
    rb"WARNING: Logging before InitGoogle"
)
"""How the lines begin that MediaPipe writes to the terminal for every landmarker, and that mean nothing to a user."""


@dataclass(frozen=True)
class FaceLandmarker:
    """MediaPipe's Face Landmarker on the pictures of a segment.

    ``frames_per_second``: at most so many pictures a second (the field's vision features have 15); None takes all.
    ``min_face_share``: with a face in a smaller share of its pictures, a segment is refused.

    One face is measured. Of several it is the largest where the first is seen, and then the same as long as it stays:
    after pictures without it, the face that overlaps its last box the most, else again the largest.
    """

    frames_per_second: float | None = 15.0
    min_face_share: float = 0.1

    columns: ClassVar[tuple[str, ...]] = names(COLUMNS)

    def recipe(self) -> dict:
        return {
            **asdict(self),
            "code": 2,
            "mediapipe": version("mediapipe"),
            "av": version("av"),
            MODEL: ASSETS[MODEL].sha256,
        }

    def measure(self, path: Path, start: float = 0.0, end: float = math.inf) -> Frames:
        """One row a picture; mask False and zeros where no face was found.

        Raises ``MediaError``, with reason ``no_face`` where too few pictures show one.
        """
        times, rows = [], []
        # Tracking carries over from picture to picture, so every segment has a landmarker of its own (50 ms).
        with no_telemetry(), _landmarker() as detect:
            for time, rgb in media.frames(path, start, end, self.frames_per_second):
                times.append(time)
                rows.append(detect(rgb, time))
        mask = np.array([row is not None for row in rows])
        if mask.mean() < self.min_face_share:
            message = f"{path} shows a face in {mask.sum()} of {len(mask)} pictures between {start:g} and {end:g} s."
            raise media.MediaError("no_face", message)
        values = np.zeros((len(rows), len(self.columns)), np.float32)
        if mask.any():
            measured = np.array([row for row in rows if row is not None])
            shapes, others = np.split(measured, [len(BLENDSHAPES)], axis=1)
            values[mask] = np.hstack([shapes, action_units(shapes, BLENDSHAPES), others])
        return Frames(values, np.array(times, np.float64), mask)


@contextmanager
def no_telemetry() -> Iterator[None]:
    """What MediaPipe does within tells nobody.

    It reports to its maker how it is used (its privacy notice says so) and has no switch for that. It sends its reports
    through the proxy of the environment; there is none at this address. Where its own address cannot be reached, one
    landmarker in forty waits five seconds for it.
    """
    ours = {"https_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _landmarker() -> Iterator:
    """A function (rgb uint8 [height, width, 3], seconds) -> the row of one face or None; times must rise.

    The row holds all columns but the action units.
    """
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
        """The row of the face that is followed, or None."""
        nonlocal last
        last = max(last + 1, round(time * 1000))
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=choice.picture(rgb, time))
        found = landmarker.detect_for_video(image, last)
        if not found.face_blendshapes:
            choice.tracked = False
            return None
        landmarks = np.array([(point.x, point.y, point.z) for point in found.face_landmarks[0]])
        matrix, box = found.facial_transformation_matrixes[0], face_geometry.box(landmarks)
        choice.found(box)
        return [
            *(shape.score for shape in found.face_blendshapes[0]),
            *face_geometry.head_pose(matrix),
            *face_geometry.eyes(landmarks, matrix[:3, :3], rgb.shape[1] / rgb.shape[0]),
            *box[:2],
            *(box[2:] - box[:2]),
            *choice.seen,
        ]

    with landmarker, _face_detector() as detect_faces:
        choice = FaceChoice(detect_faces)
        yield detect


class FaceChoice:
    """Which of several faces the landmarker is shown.

    The landmarker follows the face that it has, and looks for any one when it has none. So where there are several,
    the others are painted over in the pictures in which it will look.
    """

    def __init__(self, detect_faces: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]):
        """``detect_faces``: rgb uint8 [height, width, 3] -> (boxes [N, 4] as ``face_geometry.box``, scores [N])."""
        self._detect_faces = detect_faces
        self._next_look = -math.inf
        self._last: np.ndarray | None = None  # [4]: where the measured face was seen last
        self._boxes, self._scores = np.zeros((0, 4)), np.zeros(0)
        self.tracked = False

    def picture(self, rgb: np.ndarray, time: float) -> np.ndarray:
        """The picture to show at ``time`` (seconds): as it is, or with all faces but one painted over."""
        if self.tracked and time < self._next_look:
            return rgb
        self._next_look = time + LOOK_SECONDS
        self._boxes, self._scores = self._detect_faces(rgb)
        if self.tracked or len(self._boxes) < 2:
            return rgb
        chosen = self._mine()
        return painted_over(rgb, np.delete(self._boxes, chosen, axis=0), self._boxes[chosen])

    def found(self, box: np.ndarray) -> None:
        """The landmarker found a face in this box [4]."""
        self._last, self.tracked = box, True

    @property
    def seen(self) -> tuple[float, float]:
        """How many faces there were at the last look, at least one, and the score of the one that is measured."""
        overlap = face_geometry.overlaps(self._last, self._boxes)
        hit = len(overlap) > 0 and overlap.max() > 0
        return float(max(1, len(overlap) + (not hit))), float(self._scores[overlap.argmax()]) if hit else 0.0

    def _mine(self) -> int:
        if self._last is not None:
            overlap = face_geometry.overlaps(self._last, self._boxes)
            if overlap.max() > 0:
                return int(overlap.argmax())
        return int(face_geometry.area(self._boxes).argmax())


def painted_over(rgb: np.ndarray, boxes: np.ndarray, spared: np.ndarray) -> np.ndarray:
    """The picture with boxes [N, 4], and half their size around them, in black, but not what is in ``spared`` [4]."""
    height, width = rgb.shape[:2]

    def region(box: np.ndarray) -> tuple[slice, slice]:
        left, top, right, bottom = np.rint(np.clip(box, 0, 1) * (width, height, width, height)).astype(int)
        return slice(top, bottom), slice(left, right)

    painted = rgb.copy()
    for box in boxes:
        margin = (box[2:] - box[:2]) / 4
        painted[region(np.concatenate([box[:2] - margin, box[2:] + margin]))] = 0
    painted[region(spared)] = rgb[region(spared)]
    return painted


@contextmanager
def _face_detector() -> Iterator:
    """A function rgb uint8 [height, width, 3] -> (boxes [N, 4] as ``face_geometry.box``, scores [N]) of all faces.

    The detector is the one that is part of the landmarker's model file.
    """
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    def detect(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = rgb.shape[:2]
        found = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)).detections
        boxes = [detection.bounding_box for detection in found]
        corners = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in boxes]
        scores = np.array([detection.categories[0].score for detection in found])
        return np.array(corners).reshape(-1, 4) / (width, height, width, height), scores

    options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=_detector_model()))
    with quiet_stderr():
        detector = vision.FaceDetector.create_from_options(options)
        detect(np.zeros((64, 64, 3), np.uint8))  # the first picture makes it write notes too
    try:
        yield detect
    finally:
        with quiet_stderr():
            detector.close()


@cache
def _model() -> bytes:
    return fetch(MODEL).read_bytes()


@cache
def _detector_model() -> bytes:
    with zipfile.ZipFile(io.BytesIO(_model())) as parts:
        return parts.read("face_detector.tflite")


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
