"""Angles, apertures and boxes of heads that are made up point by point."""

import math

import numpy as np
import pytest

from tasks.features.face_geometry import IRIS_REACH, LEFT_EYE, OVAL, RIGHT_EYE, area, box, eyes, head_pose, overlaps


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    p, y, r = np.radians([pitch, yaw, roll])
    turn_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    turn_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    turn_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return turn_y @ turn_x @ turn_z


def landmarks(head: np.ndarray, gaze: tuple[float, float], opening: float, aspect: float) -> np.ndarray:
    """Landmarks of a head whose eyes are 0.1 wide, look (degrees down, degrees left) and are open by a share of that.

    The person's left is right in the picture.
    """
    down, left = np.radians(gaze)
    points = np.zeros((478, 3))  # left, up, forward for the head
    for eye, place, outwards in ((LEFT_EYE, 0.1, 1), (RIGHT_EYE, -0.1, -1)):
        middle = np.array([place, 0.05, 0.02])
        points[eye[0]], points[eye[1]] = middle + [0.05 * outwards, 0, 0], middle - [0.05 * outwards, 0, 0]
        points[eye[2]] = middle + [0.1 * IRIS_REACH * math.sin(left), -0.1 * IRIS_REACH * math.sin(down), 0]
        for lower, upper, aside in ((eye[3], eye[4], 0.01), (eye[5], eye[6], -0.01)):
            points[lower] = middle + [aside, -0.05 * opening, 0]
            points[upper] = middle + [aside, 0.05 * opening, 0]
    return points @ head.T / [1, -1 / aspect, -1] + 0.5


@pytest.mark.parametrize("pitch, yaw, roll", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 50), (-15, 25, -40)])
def test_angles_are_those_that_a_rotation_was_made_of(pitch, yaw, roll):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(pitch, yaw, roll)
    matrix[:3, 3] = [1, 2, -40]
    np.testing.assert_allclose(head_pose(matrix), [pitch, yaw, roll, 1, 2, -40], atol=1e-9)


@pytest.mark.parametrize("head", [(0, 0, 0), (15, -20, 30), (-10, 25, -5)])
@pytest.mark.parametrize("gaze", [(0, 0), (20, 0), (0, 30), (-10, -25)])
@pytest.mark.parametrize("aspect", [1.0, 16 / 9])
def test_gaze_and_aperture_are_against_the_head_however_it_is_turned(head, gaze, aspect):
    turned = rotation(*head)
    found = eyes(landmarks(turned, gaze, 0.3, aspect), turned, aspect)
    np.testing.assert_allclose(found, [*gaze, 0.3, 0.3], atol=1e-6)


def test_a_box_holds_the_outline_and_nothing_else():
    points = np.full((478, 3), 9.0)
    points[list(OVAL)] = [0.5, 0.5, 0]
    points[OVAL[0]], points[OVAL[5]] = [0.2, 0.4, 0], [0.6, 0.9, 0]
    np.testing.assert_allclose(box(points), [0.2, 0.4, 0.6, 0.9])


def test_overlap_is_one_for_the_same_box_and_zero_for_boxes_apart():
    one = np.array([0.0, 0.0, 0.4, 0.5])
    boxes = np.array([one, [0.2, 0.0, 0.6, 0.5], [0.5, 0.6, 0.9, 0.9]])
    np.testing.assert_allclose(overlaps(one, boxes), [1, 1 / 3, 0])
    np.testing.assert_allclose(area(boxes), [0.2, 0.2, 0.12])
    assert overlaps(one, np.zeros((0, 4))).shape == (0,)
