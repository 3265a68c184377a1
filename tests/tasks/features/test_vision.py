"""Faces are found, measured the same every time, and missed honestly."""

import itertools
import os
import socket

import numpy as np
import pytest

from tasks.features.media import MediaError
from tasks.features.vision import FaceLandmarker, _landmarker, no_telemetry

LANDMARKER = FaceLandmarker(frames_per_second=None)
GRAY = 128


def column(frames, name: str) -> np.ndarray:
    return frames.values[:, LANDMARKER.columns.index(name)]


def test_a_smiling_face_is_measured_as_one(record, face):
    frames = LANDMARKER.measure(record(pictures=[face] * 10))
    assert frames.values.shape == (10, len(LANDMARKER.columns)) and frames.values.dtype == np.float32
    assert frames.mask.all() and np.isfinite(frames.values).all()
    np.testing.assert_allclose(frames.times, np.arange(10) / 25, atol=1e-3)
    assert column(frames, "mouthSmileLeft").min() > 0.6 and column(frames, "jawOpen").max() < 0.3
    assert np.all((frames.values[:, :72] >= 0) & (frames.values[:, :72] <= 1))  # blendshapes and action units
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
        FaceLandmarker(None, min_face_share=0.3).measure(clip)
    assert caught.value.reason == "no_face"
    assert FaceLandmarker(None, min_face_share=0.0).measure(clip).mask.sum() >= 2


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


def scene(*faces: tuple[np.ndarray, int, int]) -> np.ndarray:
    """A gray picture of 320 x 640 with the middle of each face at a left edge, of a size in pixels, on the floor."""
    import cv2

    picture = np.full((320, 640, 3), GRAY, np.uint8)
    for face, left, size in faces:
        middle = cv2.resize(face[20:200, 30:210], (size, size), interpolation=cv2.INTER_AREA)
        picture[320 - size :, left : left + size] = middle
    return picture


def test_the_largest_of_two_faces_is_measured_and_both_are_counted(record, face):
    for sizes, where in (((280, 180), (0, 0.5)), ((180, 280), (0.5, 1))):
        frames = LANDMARKER.measure(record(pictures=[scene((face, 0, sizes[0]), (face, 340, sizes[1]))] * 8))
        assert frames.mask.all() and np.all(column(frames, "faces") == 2)
        middle = column(frames, "faceLeft") + column(frames, "faceWidth") / 2
        assert where[0] < middle.min() and middle.max() < where[1]
        assert column(frames, "faceScore").min() > 0.5


def test_the_face_that_was_chosen_is_followed_though_another_outgrows_it(record, face):
    """It shrinks while the other one grows; then there is nothing for a while, and it comes back where it was."""
    sizes = np.linspace(280, 160, 30).astype(int)
    pictures = [scene((face, 0, size), (face, 340, 440 - size)) for size in sizes]
    nothing = [scene()] * 12
    frames = LANDMARKER.measure(record(pictures=[*pictures, *nothing, *[pictures[-1]] * 12]))
    assert frames.mask[:30].mean() > 0.9 and not frames.mask[33:41].any() and frames.mask[-6:].all()
    middle = (column(frames, "faceLeft") + column(frames, "faceWidth") / 2)[frames.mask]
    assert middle.max() < 0.5


def test_where_the_chosen_face_is_gone_the_largest_of_the_others_is_chosen(record, face):
    alone, others = scene((face, 0, 200)), scene((face, 230, 170), (face, 420, 220))
    frames = LANDMARKER.measure(record(pictures=[alone] * 10 + [others] * 20))
    middle = column(frames, "faceLeft") + column(frames, "faceWidth") / 2
    assert frames.mask[-10:].all() and middle[:5].max() < 0.4 and middle[-10:].min() > 0.65


def test_a_face_box_is_where_the_face_is(record, face):
    frames = LANDMARKER.measure(record(pictures=[scene((face, 320, 200))] * 5))
    left, top = column(frames, "faceLeft"), column(frames, "faceTop")
    right, bottom = left + column(frames, "faceWidth"), top + column(frames, "faceHeight")
    assert 0.5 < left.min() and right.max() < 0.9 and 0.2 < top.min() and bottom.max() < 1
    assert np.all(bottom - top > 0.3)


def test_action_units_follow_from_the_blendshapes(record, face):
    frames = LANDMARKER.measure(record(pictures=[face] * 3))
    smile = (column(frames, "mouthSmileLeft") + column(frames, "mouthSmileRight")) / 2
    np.testing.assert_allclose(column(frames, "AU12"), smile, atol=1e-6)
    np.testing.assert_allclose(column(frames, "AU26"), column(frames, "jawOpen"), atol=1e-6)


def test_pictures_are_fifteen_a_second_unless_all_are_asked_for(record, face):
    assert len(FaceLandmarker().measure(record(pictures=[face] * 25)).times) == 15


@pytest.mark.real_data
def test_gaze_and_aperture_move_with_the_blendshapes_of_the_eyes(shared_data):
    """Two ways to look at the same eyes: landmarks here, the blendshape network there."""
    frames = LANDMARKER.measure(shared_data / "grid" / "bbaf2n.mpg")

    def same(columns: dict[str, int], name: str) -> float:
        return np.corrcoef(sum(sign * column(frames, shape) for shape, sign in columns.items()), column(frames, name))[
            0, 1
        ]

    yaw = {"eyeLookOutLeft": 1, "eyeLookInLeft": -1, "eyeLookInRight": 1, "eyeLookOutRight": -1}
    pitch = {"eyeLookDownLeft": 1, "eyeLookDownRight": 1, "eyeLookUpLeft": -1, "eyeLookUpRight": -1}
    assert same(yaw, "gazeYaw") > 0.9 and same(pitch, "gazePitch") > 0.9
    assert same({"eyeBlinkLeft": 1}, "eyeApertureLeft") < -0.9
    assert same({"eyeBlinkRight": 1}, "eyeApertureRight") < -0.9


@pytest.mark.real_data
def test_every_frame_of_a_real_clip_shows_its_face_and_twice_the_same(shared_data):
    clip = shared_data / "grid" / "bbaf2n.mpg"
    first, second = LANDMARKER.measure(clip), LANDMARKER.measure(clip)
    assert first.mask.shape == (75,) and first.mask.all()
    np.testing.assert_array_equal(first.values, second.values)
    speaking = (first.times > 0.9) & (first.times < 2.1)
    assert column(first, "jawOpen")[speaking].std() > column(first, "jawOpen")[~speaking].std()


def test_the_recipe_tells_configurations_apart():
    assert FaceLandmarker(None).recipe() == LANDMARKER.recipe() != FaceLandmarker().recipe()


def test_measuring_prints_nothing(record, face, capfd):
    LANDMARKER.measure(record(pictures=[face] * 3))
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


def test_nobody_is_told_that_a_face_was_measured(record, face, monkeypatch):
    """MediaPipe reports through the proxy of the environment, where it is let; this one counts who comes."""
    clip = record(pictures=[face] * 5)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(1)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", address)
        monkeypatch.setenv("no_proxy", "")

        def reports() -> int:
            for number in itertools.count():
                try:
                    proxy.accept()[0].close()
                except TimeoutError:
                    return number

        LANDMARKER.measure(clip)
        assert reports() == 0
        with _landmarker():
            pass
        assert reports() > 0, "of what is not kept from telling, this would be seen"
    assert os.environ["https_proxy"] == address


def test_the_environment_is_as_it_was(monkeypatch):
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    with pytest.raises(ZeroDivisionError), no_telemetry():
        assert os.environ["https_proxy"] and not os.environ["no_proxy"]
        raise ZeroDivisionError
    assert "https_proxy" not in os.environ and os.environ["no_proxy"] == "localhost"
