"""A talking face for the sample corpus: one photograph, warped smoothly around its landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tasks import assets
from tasks.features.vision import no_telemetry, quiet_stderr

FRAME_RATE = 25
SIDE = 320  # pixels; the outer eye corners are then about 120 apart
SCALE = 2.0  # enlargement of the photograph, on which they are 60 apart

# Face Mesh landmark indices (MediaPipe's 478-point topology)
EYE_CORNERS = (33, 263)
NOSE_TIP = 1

# What each control moves: (landmark, shift right, shift down, width across, width along the face), all in distances
# between the outer eye corners. One unit of a control moves its landmarks by just that much.
GESTURES: dict[str, tuple[tuple[int, float, float, float, float], ...]] = {
    "smile": ((61, -0.2, -1.0, 0.2, 0.17), (291, 0.2, -1.0, 0.2, 0.17)),
    "jaw": ((17, 0.0, 1.0, 0.28, 0.16), (152, 0.0, 0.6, 0.4, 0.25)),
    "brows": ((105, 0.0, -1.0, 0.22, 0.11), (334, 0.0, -1.0, 0.22, 0.11)),
    "frown": ((107, 0.4, 1.0, 0.12, 0.1), (336, -0.4, 1.0, 0.12, 0.1)),
    "blink": ((159, 0.0, 1.0, 0.13, 0.07), (386, 0.0, 1.0, 0.13, 0.07)),
}
HEAD = ("right", "down", "turn", "zoom")
HEAD_WIDTH = 1.1  # of the region that follows the head, in the same distances; the background stays
CONTROLS = (*GESTURES, *HEAD)


@dataclass(frozen=True)
class Face:
    """A photograph, its landmarks [478, 2] in pixels, and the displacement field of every control.

    A frame is the photograph looked up at ``grid - controls @ fields``: linear in the controls, so that a frame costs
    one small product and one remap.
    """

    photograph: np.ndarray
    landmarks: np.ndarray

    @cached_property
    def eye_distance(self) -> float:
        """Pixels between the outer eye corners."""
        left, right = self.landmarks[list(EYE_CORNERS)]
        return float(np.linalg.norm(right - left))

    @cached_property
    def grid(self) -> np.ndarray:
        """Where each pixel of a frame looks in the photograph while nothing moves: float32 [SIDE * SIDE * 2]."""
        left, top = self.landmarks[NOSE_TIP] - SIDE / 2
        x, y = np.meshgrid(np.arange(SIDE) + left, np.arange(SIDE) + top)
        return np.stack([x, y], axis=-1).astype(np.float32).ravel()

    @cached_property
    def fields(self) -> np.ndarray:
        """Displacement in pixels for one unit of each control: float32 [controls, SIDE * SIDE * 2]."""
        points = self.grid.reshape(SIDE, SIDE, 2)

        def bump(landmark: int, *widths: float) -> np.ndarray:
            offsets = (points - self.landmarks[landmark]) / (np.array(widths) * self.eye_distance)
            return np.exp(-0.5 * (offsets**2).sum(axis=-1))[..., None]  # [SIDE, SIDE, 1]

        fields = [
            sum(
                bump(landmark, *widths) * np.array([right, down]) * self.eye_distance
                for landmark, right, down, *widths in moves
            )
            for moves in GESTURES.values()
        ]
        head, offset = bump(NOSE_TIP, HEAD_WIDTH), points - self.landmarks[NOSE_TIP]
        shift = head * self.eye_distance
        turned = np.stack([-offset[..., 1], offset[..., 0]], axis=-1)
        fields += [shift * np.array([1.0, 0.0]), shift * np.array([0.0, 1.0]), head * turned, head * offset]
        return np.stack(fields).astype(np.float32).reshape(len(CONTROLS), -1)

    def frames(self, controls: np.ndarray, tint: np.ndarray) -> Iterator[np.ndarray]:
        """A frame uint8 [SIDE, SIDE, 3] (RGB) for every row of ``controls`` [F, controls], columns as ``CONTROLS``.

        ``tint`` [3] multiplies the colours.
        """
        photograph = np.clip(self.photograph * tint, 0, 255).astype(np.uint8)
        moved = np.empty_like(self.grid)
        for row in controls.astype(np.float32):
            lookup = self.grid.copy()
            # One product and one difference at a time: BLAS and einsum round differently as memory happens to be
            # aligned, and the same seed must give the same bytes.
            for control, field in zip(row, self.fields, strict=True):
                lookup -= np.multiply(field, control, out=moved)
            yield cv2.remap(photograph, lookup.reshape(SIDE, SIDE, 2), None, cv2.INTER_LINEAR)


def load_face() -> Face:
    """scikit-image's photograph of the astronaut Eileen Collins (public domain), enlarged, with its landmarks.

    Raises ``AssetError`` where MediaPipe's model or the packages of the extra ``sample`` cannot be had.
    """
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise assets.AssetError(
            "The face of the sample corpus comes with scikit-image, which is not here: pip install .[sample]"
        ) from error
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    photograph = cv2.resize(astronaut(), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    model = BaseOptions(model_asset_path=str(assets.fetch("face_landmarker.task")))
    options = vision.FaceLandmarkerOptions(base_options=model)
    with no_telemetry(), quiet_stderr(), vision.FaceLandmarker.create_from_options(options) as landmarker:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photograph))
        (points,) = landmarker.detect(image).face_landmarks
    height, width = photograph.shape[:2]
    return Face(photograph, np.array([[point.x * width, point.y * height] for point in points]))


@dataclass(frozen=True)
class Habit:
    """What all clips of one video share: a resting expression, the distance from the camera and the light."""

    smile: float
    brows: float
    zoom: float
    tint: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habit:
        smile, brows = rng.normal(scale=0.01, size=2)
        tint = rng.uniform(0.85, 1.1, size=3)
        return cls(float(smile), float(brows), float(rng.uniform(-0.06, 0.06)), tuple(float(gain) for gain in tint))


def animate(
    waveform: np.ndarray, sample_rate: int, signal: float, habit: Habit, rng: np.random.Generator
) -> np.ndarray:
    """The controls [F, controls] of a clip at ``FRAME_RATE``: the mouth follows the sound, the expression ``signal``.

    The mouth opens with the sound's envelope relative to the clip's own loudest parts: loudness is the voice's to show.
    """
    count = int(np.ceil(len(waveform) / sample_rate * FRAME_RATE))
    times = np.arange(count) / FRAME_RATE  # [F]
    shown = np.clip(signal, -2.2, 2.2) * (0.8 + 0.2 * _sway(times, 0.3, rng)) + rng.normal(scale=0.25)
    moves = dict.fromkeys(CONTROLS, np.zeros(count))
    moves["smile"] = -0.09 + habit.smile + 0.055 * shown
    moves["brows"] = habit.brows + 0.02 * shown
    moves["frown"] = np.maximum(-0.025 * shown, 0)
    moves["jaw"] = 0.11 * _envelope(waveform, sample_rate, count)
    moves["blink"] = 0.12 * _blinks(times, rng)
    moves["right"], moves["down"] = 0.03 * _sway(times, 0.25, rng), 0.02 * _sway(times, 0.35, rng)
    moves["turn"], moves["zoom"] = 0.03 * _sway(times, 0.2, rng), habit.zoom + 0.01 * _sway(times, 0.15, rng)
    return np.stack([moves[name] for name in CONTROLS], axis=1)


def _sway(times: np.ndarray, hertz: float, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * (hertz * times + rng.uniform()))


def _envelope(waveform: np.ndarray, sample_rate: int, count: int) -> np.ndarray:
    """Loudness around each frame, smoothed, 1 at the clip's loudest parts: [F]."""
    padded = np.pad(waveform.astype(np.float64) ** 2, (0, count * sample_rate // FRAME_RATE - len(waveform)))
    loudness = np.sqrt(padded.reshape(count, -1).mean(axis=1))
    smooth = np.convolve(loudness, [0.2, 0.6, 0.2], mode="same")
    return np.clip(smooth / np.percentile(smooth, 95), 0, 1)


def _blinks(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 (open) to 1 (closed): one blink in every three seconds or so, a fifth of a second long: [F]."""
    closed = np.zeros_like(times)
    for start in np.arange(0, times[-1], 3.0):
        centre = start + rng.uniform(0.3, 2.7)
        closed = np.maximum(closed, 1 - np.abs(times - centre) / 0.1)
    return closed
