"""Faces are found, measured the same every time, and missed honestly."""

import math

import numpy as np
import pytest

from tasks.features.media import MediaError
from tasks.features.vision import BLENDSHAPES, HEAD_POSE, FaceLandmarker, head_pose

LANDMARKER = FaceLandmarker()


def column(frames, name: str) -> np.ndarray:
    return frames.values[:, LANDMARKER.columns.index(name)]


def test_a_smiling_face_is_measured_as_one(record, face):
    frames = LANDMARKER.measure(record(pictures=[face] * 10))
    assert frames.values.shape == (10, len(BLENDSHAPES) + len(HEAD_POSE)) and frames.values.dtype == np.float32
    assert frames.mask.all() and np.isfinite(frames.values).all()
    np.testing.assert_allclose(frames.times, np.arange(10) / 25, atol=1e-3)
    assert column(frames, "mouthSmileLeft").min() > 0.6 and column(frames, "jawOpen").max() < 0.3
    assert np.all((frames.values[:, :52] >= 0) & (frames.values[:, :52] <= 1))
    assert np.all(column(frames, "headZ") < -10)  # in front of the camera, which looks along -z


def test_pictures_without_a_face_are_masked_and_shift_nothing(record, face):
    nothing = np.full_like(face, 128)
    frames = LANDMARKER.measure(record(pictures=[face] * 12 + [nothing] * 12 + [face] * 12))
    assert len(frames.times) == 36
    assert frames.mask[:10].all() and not frames.mask[14:23].any() and frames.mask[28:].all()
    assert np.all(frames.values[~frames.mask] == 0)


def test_without_a_face_a_segment_is_refused(record, face):
    nothing = np.full_like(face, 128)
    clip = record(pictures=[face] * 2 + [nothing] * 28)
    with pytest.raises(MediaError, match="shows a face in . of 30 pictures") as caught:
        FaceLandmarker(min_face_share=0.3).measure(clip)
    assert caught.value.reason == "no_face"
    assert FaceLandmarker(min_face_share=0.0).measure(clip).mask.sum() >= 2


def test_fewer_pictures_a_second_are_a_choice(record, face):
    frames = FaceLandmarker(frames_per_second=12.5).measure(record(pictures=[face] * 20))
    np.testing.assert_allclose(frames.times, np.arange(10) * 0.08, atol=1e-3)


def test_a_mirrored_head_turns_the_other_way(record, face):
    there, back = (
        LANDMARKER.measure(record(f"{i}.mp4", pictures=[p] * 3)) for i, p in enumerate((face, face[:, ::-1]))
    )
    for name in ("headYaw", "headRoll"):
        assert column(there, name).mean() == pytest.approx(-column(back, name).mean(), abs=4)
    assert column(there, "headPitch").mean() == pytest.approx(column(back, "headPitch").mean(), abs=4)


def test_head_roll_follows_a_turned_picture(record, face):
    transform = pytest.importorskip("skimage.transform")
    turned = transform.rotate(face, 20, preserve_range=True, mode="edge").astype(np.uint8)  # counter-clockwise
    upright, tilted = (LANDMARKER.measure(record(f"{i}.mp4", pictures=[p] * 3)) for i, p in enumerate((face, turned)))
    assert column(tilted, "headRoll").mean() - column(upright, "headRoll").mean() == pytest.approx(20, abs=4)


@pytest.mark.parametrize("pitch, yaw, roll", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 50), (-15, 25, -40)])
def test_angles_are_those_that_a_rotation_was_made_of(pitch, yaw, roll):
    p, y, r = np.radians([pitch, yaw, roll])
    turn_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    turn_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    turn_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_y @ turn_x @ turn_z
    matrix[:3, 3] = [1, 2, -40]
    np.testing.assert_allclose(head_pose(matrix), [pitch, yaw, roll, 1, 2, -40], atol=1e-9)


@pytest.mark.real_data
def test_every_frame_of_a_real_clip_shows_its_face_and_twice_the_same(shared_data):
    clip = shared_data / "grid" / "bbaf2n.mpg"
    first, second = LANDMARKER.measure(clip), LANDMARKER.measure(clip)
    assert first.mask.shape == (75,) and first.mask.all()
    np.testing.assert_array_equal(first.values, second.values)
    speaking = (first.times > 0.9) & (first.times < 2.1)
    assert column(first, "jawOpen")[speaking].std() > column(first, "jawOpen")[~speaking].std()


def test_the_recipe_tells_configurations_apart():
    assert FaceLandmarker().recipe() == LANDMARKER.recipe() != FaceLandmarker(frames_per_second=15).recipe()


def test_measuring_prints_nothing(record, face, capfd):
    LANDMARKER.measure(record(pictures=[face] * 3))
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""
