"""Where a face is and where it looks, from MediaPipe's 478 landmarks: arithmetic alone, no model.

Shapes: 478 landmarks with x (right in the picture), y (down) and z (away from the camera), in shares of the picture's
width, height and width, as MediaPipe gives them. Left and right are the person's.
"""

from __future__ import annotations

import math

import numpy as np

from tasks.features.columns import Column

# Of each eye: outer corner, inner corner, iris, and the two pairs of upper and lower lid between the corners
LEFT_EYE = (263, 362, 473, 385, 380, 387, 373)
RIGHT_EYE = (33, 133, 468, 160, 144, 158, 153)
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
"""The outline of the face."""

IRIS_REACH = 0.35
"""Of the distance between an eye's corners (about 29 mm): how far the iris is from the point the eyeball turns around
(about 10 mm)."""

_MATRIX = "face transformation matrix"
HEAD_POSE = (
    Column("headPitch", "degrees", _MATRIX, "nose down is positive", (-180, 180)),
    Column("headYaw", "degrees", _MATRIX, "nose to the person's left is positive", (-180, 180)),
    Column("headRoll", "degrees", _MATRIX, "to the person's right shoulder is positive", (-180, 180)),
    Column("headX", "cm", _MATRIX, "from the camera, right in the picture is positive"),
    Column("headY", "cm", _MATRIX, "from the camera, up is positive"),
    Column("headZ", "cm", _MATRIX, "from the camera, which looks along the negative axis"),
)
EYES = (
    Column("gazePitch", "degrees", "iris, eye corners", "against the head; down is positive", (-90, 90)),
    Column("gazeYaw", "degrees", "iris, eye corners", "against the head; to the person's left is positive", (-90, 90)),
    Column("eyeApertureLeft", "share of the eye's width", "lids and eye corners", "height of the opening", (0, 2)),
    Column("eyeApertureRight", "share of the eye's width", "lids and eye corners", "height of the opening", (0, 2)),
)
BOX = (
    Column("faceLeft", "share of the picture's width", "outline of the face", "left edge of its box"),
    Column("faceTop", "share of the picture's height", "outline of the face", "upper edge of its box"),
    Column("faceWidth", "share of the picture's width", "outline of the face", "width of its box", (0, 3)),
    Column("faceHeight", "share of the picture's height", "outline of the face", "height of its box", (0, 3)),
)


def head_pose(matrix: np.ndarray) -> list[float]:
    """HEAD_POSE of a 4 x 4 rigid transform whose rotation is Ry(yaw) Rx(pitch) Rz(roll)."""
    pitch = math.asin(max(-1.0, min(1.0, -matrix[1, 2])))
    yaw = math.atan2(matrix[0, 2], matrix[2, 2])
    roll = math.atan2(matrix[1, 0], matrix[1, 1])
    return [*np.degrees([pitch, yaw, roll]), *matrix[:3, 3]]


def eyes(landmarks: np.ndarray, rotation: np.ndarray, aspect: float) -> list[float]:
    """EYES of landmarks [478, 3] of a head with this rotation [3, 3]; ``aspect`` is the picture's width over height.

    The head's rotation is taken back first. A gaze is the mean of both eyes, and 0 where the irises lie midway between
    the corners. Straight ahead is mostly about 10 degrees above that, and differs from person to person: a change says
    more than a value. An aperture is the eye aspect ratio of Soukupová and Čech (2016).
    """
    gazes, apertures = [], []
    for eye in (LEFT_EYE, RIGHT_EYE):
        points = landmarks[list(eye)] * [1, -1 / aspect, -1] @ rotation  # [7, 3]: left, up and forward for the head
        outer, inner, iris, *lids = points[:, :2]
        width = max(1e-9, float(np.linalg.norm(outer - inner)))
        left, up = (iris - (outer + inner) / 2) / (IRIS_REACH * width)
        gazes.append([math.degrees(math.asin(max(-1.0, min(1.0, sine)))) for sine in (-up, left)])
        heights = [float(np.linalg.norm(upper - lower)) for upper, lower in (lids[:2], lids[2:])]
        apertures.append(sum(heights) / (2 * width))
    return [*np.mean(gazes, axis=0), *apertures]


def box(landmarks: np.ndarray) -> np.ndarray:
    """(left, top, right, bottom) of the outline of landmarks [478, 3], in shares of the picture: [4]."""
    outline = landmarks[list(OVAL), :2]
    return np.concatenate([outline.min(axis=0), outline.max(axis=0)])


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with each of ``boxes`` [N, 4], as ``box`` gives them: [N]."""
    shared = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])  # [N, 2]
    intersection = np.maximum(shared, 0).prod(axis=1)
    return intersection / (area(box) + area(boxes) - intersection)


def area(boxes: np.ndarray) -> np.ndarray:
    """Of boxes [..., 4]: [...]."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
