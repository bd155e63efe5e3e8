"""The landmarks of ComfyUI's own MediaPipe node, in the form in which it gives them."""

import numpy as np
import pytest
from restoreflow.faces import geometry

CANONICAL = {33: (-4.446, 2.664), 133: (-1.856, 2.585), 263: (4.446, 2.664), 362: (1.856, 2.585),
             1: (0.0, -1.127), 61: (-2.456, -4.343), 291: (2.456, -4.343)}  # fmt: skip
"""Of MediaPipe's canonical face, x to the picture's right and y up."""


def landmarks(*middles, size=(300, 400), scale=10.0, count=478) -> dict:
    """FACE_LANDMARKS of ComfyUI: pictures, each with faces around these middles."""
    frames = [[face(middle, scale, count) for middle in one] for one in middles]
    return {"image_size": size, "connection_sets": {}, "frames": frames}


def face(middle, scale, count) -> dict:
    points = np.zeros((count, 2), np.float32)
    for index, (x, y) in CANONICAL.items():
        points[index] = (x, -y)
    if count > 473:
        points[468], points[473] = points[[33, 133]].mean(0), points[[263, 362]].mean(0)
    points = points * scale + np.float32(middle)
    box = np.float32([*(np.float32(middle) - 7 * scale), *(np.float32(middle) + 9 * scale)])
    return {"landmarks_xy": points, "bbox_xyxy": box, "score": 0.9, "presence": 3.0}


@pytest.fixture
def read(nodes):
    return lambda value: nodes.face_landmarks.FacesFromLandmarks.execute(value).args[0]


def test_faces_of_several_pictures(read):
    faces = read(landmarks([(100, 120), (300, 120)], [], [(200, 150)]))
    assert faces.picture.tolist() == [0, 0, 2]
    assert (faces.height, faces.width) == (300, 400)
    assert geometry.likeness(faces.points).min() > 0.95
    eyes = faces.points[0, :2].tolist()
    assert eyes[0][0] < 100 < eyes[1][0], "left is left in the picture"
    middle = geometry.move(geometry.fit(faces.points), faces.points)[0]
    assert (middle - geometry.TEMPLATE).abs().max() < 25


def damaged(**values) -> dict:
    """Landmarks of one face, some of whose values are others."""
    value = landmarks([(100, 120)])
    value["frames"][0][0] |= values
    return value


def test_landmarks_with_a_depth(read):
    value = landmarks([(100, 120)])
    plane = value["frames"][0][0]["landmarks_xy"]
    deep = np.concatenate([plane, np.full((478, 1), 7, np.float32)], axis=1)
    assert read(damaged(landmarks_xy=deep)).points.equal(read(value).points)


def test_no_face(read):
    assert len(read(landmarks([], []))) == 0


def test_what_cannot_be_a_face_is_dropped(read):
    value = landmarks([(100, 120), (2000, 120)])
    value["frames"][0][0]["landmarks_xy"][468] = np.nan
    assert len(read(value)) == 0


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"frames": []},
        None,
        landmarks([(9, 9)], count=468),
        damaged(bbox_xyxy=np.zeros(3)),
        damaged(landmarks_xy=np.zeros((478, 1))),
        damaged(landmarks_xy=np.zeros(478)),
    ],
)
def test_landmarks_of_another_kind(read, value):
    with pytest.raises(ValueError, match="not those of ComfyUI's MediaPipe Face Landmarker"):
        read(value)
