"""The value on the FACES wire: what it refuses, how faces are chosen, and other canvases."""

from dataclasses import replace

import pytest
import torch
from restoreflow.faces import geometry
from restoreflow.faces.detections import Faces
from restoreflow.faces.geometry import MIRRORED, TEMPLATE
from scenes import POINTS, found

NAN = float("nan")


def crowd(sides: list[float], picture: list[int]) -> Faces:
    """Faces whose boxes are squares of these sides in pictures of 900 x 800."""
    points = torch.stack([TEMPLATE * side / 512 for side in sides])
    corner = torch.tensor(sides)[:, None].expand(-1, 2)
    boxes = torch.cat([torch.zeros_like(corner), corner], 1).double()
    scores = torch.linspace(1, 0.1, len(sides)).double()
    return Faces(boxes, points, scores, torch.tensor(picture), 800, 900)


CROWD = crowd([100, 300, 200, 300, 50], [0, 0, 0, 1, 1])


def sizes(faces: Faces) -> list[int]:
    return faces.boxes[:, 2].int().tolist()


def test_points_of_a_person_get_a_box_around_the_face():
    faces = found(POINTS[None], 512, 512)
    x0, y0, x1, y1 = faces.boxes[0].tolist()
    assert (faces.boxes[0, :2] < POINTS.amin(0)).all() and (
        faces.boxes[0, 2:] > POINTS.amax(0)
    ).all()
    assert x1 - x0 == pytest.approx(85, abs=5) and y1 - y0 == pytest.approx(105, abs=5)
    assert len(Faces.none(40, 30)) == 0
    assert Faces.none(40, 30).transforms.shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"points": CROWD.points * NAN}, "A point of face 1 is not a number"),
        ({"boxes": CROWD.boxes / 0.0}, "The box of face 1 holds what is not a number"),
        ({"boxes": CROWD.boxes[:, [0, 1, 0, 3]]}, "The box of face 1 is empty"),
        ({"boxes": CROWD.boxes + 900}, "face 1 lie outside the picture of 900 x 800"),
        ({"points": CROWD.points - 400}, "face 1 lie outside the picture of 900 x 800"),
        ({"height": 10}, "face 1 lie outside the picture of 900 x 10"),
        ({"points": CROWD.points / 900}, "The points of face 1 lie within one pixel"),
        ({"points": CROWD.points[:, list(MIRRORED)]}, "face 1 form no face: .* left eye, right"),
        ({"scores": CROWD.scores[:3]}, r"boxes \[N, 4\], .* not .*\(3,\)"),
        ({"points": CROWD.points[:, :4]}, r"points \[N, 5, 2\]"),
        ({"picture": CROWD.picture - 1}, "Face 1 lies in no picture"),
    ],
)
def test_what_cannot_be_faces_is_refused_in_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        replace(CROWD, **change)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_points_given_for_another_picture_are_refused():
    for points, sentence in ((POINTS + 9000, "outside"), (0 * POINTS, "one pixel")):
        with pytest.raises(ValueError, match=sentence):
            found(points[None], 512, 512)


def test_points_may_leave_the_frame():
    assert len(found(POINTS[None] - torch.tensor([220.0, 0]), 512, 512)) == 1


def test_faces_are_chosen_and_keep_their_order():
    assert sizes(CROWD.largest(1)) == [300, 300]
    assert sizes(CROWD.largest(2)) == [300, 200, 300, 50]
    assert sizes(CROWD.largest(0)) == []
    assert sizes(CROWD.scoring(0.5)) == [100, 300, 200]
    assert sizes(CROWD.at_least(200)) == [300, 200, 300]
    assert sizes(CROWD.subset([4, 0])) == [50, 100]
    assert sizes(Faces.none(8, 8).largest(3)) == []


def test_of_equals_the_first_is_the_largest():
    chosen = crowd([70, 70, 70], [0, 0, 0]).largest(1)
    assert chosen.scores[0] == 1


@pytest.mark.parametrize("index", [-1, 5])
def test_a_face_that_is_not_there(index):
    with pytest.raises(ValueError, match=f"There is no face {index + 1}: 5 were found"):
        CROWD.subset([0, index])


def test_faces_in_a_region():
    region = torch.zeros(2, 800, 900)
    region[0, :180, :180] = 1
    region[1] = 1
    assert sizes(CROWD.inside(region)) == [100, 200, 300, 50]
    assert sizes(CROWD.inside(region[0])) == [100, 200, 50]
    assert sizes(CROWD.inside(region[0], share=1)) == [100, 50]
    with pytest.raises(ValueError, match="The region is 10 x 20 pixels, the picture 900 x 800"):
        CROWD.inside(torch.zeros(20, 10))


def test_faces_on_a_larger_canvas():
    larger = CROWD.on(torch.zeros(2, 3, 1600, 1800))
    assert torch.equal(larger.boxes, CROWD.boxes * 2)
    assert torch.allclose(geometry.scale(larger.transforms), geometry.scale(CROWD.transforms) / 2)
    with pytest.raises(ValueError, match="one of 800 x 800 has another shape"):
        CROWD.on(torch.zeros(2, 3, 800, 800))
    with pytest.raises(ValueError, match="A face lies in picture 2, but 1 came"):
        CROWD.on(torch.zeros(1, 3, 800, 900))


def test_a_thousand_faces_are_chosen_from():
    many = crowd(torch.linspace(20, 400, 1000).tolist(), [0] * 500 + [1] * 500)
    assert len(many.largest(8)) == 16
    assert len(many.inside(torch.ones(800, 900))) == 1000


def test_what_a_detector_errs_in_is_left_out():
    boxes, points, scores, picture = CROWD.boxes, CROWD.points, CROWD.scores, CROWD.picture
    points = torch.cat([points[:1] * NAN, points[1:2, list(MIRRORED)], points[2:]])
    boxes = torch.cat([boxes[:4], boxes[4:] + 900])
    faces = Faces.credible(boxes, points, scores, picture, 800, 900)
    assert sizes(faces) == [200, 300] and faces.picture.tolist() == [0, 1]
    none = Faces.none(800, 900)
    parts = (none.boxes, none.points, none.scores, none.picture)
    assert len(Faces.credible(*parts, 800, 900)) == 0


def test_a_picture_that_is_an_aligned_face():
    faces = Faces.aligned(2, 512, 612)
    assert faces.picture.tolist() == [0, 1]
    shift = torch.tensor([[1.0, 0, -50], [0, 1, 0]]).double()
    assert torch.allclose(faces.transforms, shift.expand(2, 2, 3), atol=1e-9)


def test_a_region_for_each_picture_or_one_for_all():
    regions = torch.zeros(2, 800, 900)
    regions[1] = 1
    assert CROWD.inside(regions).picture.tolist() == [1, 1]
    three = replace(CROWD, picture=torch.tensor([0, 0, 0, 1, 2]))
    with pytest.raises(ValueError, match="lies in picture 3, but 2 regions came"):
        three.inside(regions)
