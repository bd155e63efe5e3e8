"""Crops of the astronaut's face, from photos of her at any size, angle and side."""

import pytest
import torch
from restoreflow.faces import geometry
from restoreflow.faces.align import align
from restoreflow.faces.detections import Faces
from scenes import ASTRONAUT, POINTS, drawn, found, marked, placed, psnr

DIRECT = drawn(geometry.fit(POINTS[None]), 512, 512)
"""The crop as SciPy draws it from her photo."""


@pytest.fixture(scope="module")
def crop() -> torch.Tensor:
    """From her own photo."""
    return align(ASTRONAUT[None], found(POINTS[None], 512, 512))


def test_the_crop_is_the_one_drawn_directly(crop):
    assert crop.shape == (1, 3, 512, 512)
    assert psnr(crop[0], DIRECT) > 42


@pytest.mark.parametrize("degrees", [10, 90, -73, 180])
def test_a_turned_photo_gives_the_same_crop(crop, degrees):
    assert psnr(align(*placed(250, 110, degrees)), crop) > 40


@pytest.mark.parametrize(("face", "degrees"), [(150, 0), (350, 30), (700, -8), (1000, 0)])
def test_a_larger_photo_gives_the_crop_drawn_directly(face, degrees):
    photo, faces = placed(int(2.1 * face), face, degrees)
    assert psnr(align(photo, faces)[0], DIRECT) > 48


def test_a_mirrored_photo_gives_the_mirrored_crop(crop):
    mirrored = torch.stack([512 - POINTS[:, 0], POINTS[:, 1]], 1)[list(geometry.MIRRORED)]
    other = align(ASTRONAUT.flip(2)[None], found(mirrored[None], 512, 512))
    assert psnr(other.flip(3), crop) > 80


def test_a_shrinking_crop_is_free_of_aliasing():
    """Of a texture up to the photo's last frequency: alike from a photo turned by a right angle."""
    board = (torch.rand(1, 3, 1400, 1400) > 0.5).float()
    crops = align(board, marked(1400, 880))
    turned = align(board.rot90(-1, (2, 3)), marked(1400, 880, 90))
    assert psnr(turned, crops) > 60
    assert crops.std() < 0.5 * board.std()


def test_each_face_comes_from_its_own_picture(crop):
    photos = torch.stack([torch.zeros_like(ASTRONAUT), ASTRONAUT, ASTRONAUT.flip(0)])
    faces = Faces.from_points(POINTS.expand(3, 5, 2), torch.tensor([1, 2, 0]), 512, 512)
    crops = align(photos, faces)
    assert torch.equal(crops[:1], crop)
    assert torch.equal(crops[1:2], crop.flip(1))
    assert (crops[2] == 0).all()


def test_crops_of_any_size_show_the_same(crop):
    small = align(ASTRONAUT[None], found(POINTS[None], 512, 512), size=256)
    assert psnr(small, torch.nn.functional.avg_pool2d(crop, 2)) > 45


def test_faces_found_on_the_photo_serve_its_enlargement(crop):
    larger = drawn(torch.tensor([[[2.0, 0, 0], [0, 2, 0]]]).double(), 1024, 1024)
    assert psnr(align(larger[None], found(POINTS[None], 512, 512)), crop) > 42


def test_beyond_the_frame_a_crop_sees_the_reflection():
    cut = ASTRONAUT[None, :, 90:, 215:]
    crops = align(cut, found(POINTS[None] - torch.tensor([215.0, 90]), 422, 297))
    unfolded = torch.cat([cut.flip(3), cut], 3)
    unfolded = torch.cat([unfolded.flip(2), unfolded], 2)
    points = POINTS[None] + torch.tensor([297 - 215.0, 422 - 90])
    assert psnr(crops, align(unfolded, found(points, 844, 594))) > 60


def test_no_face_no_crop():
    assert align(ASTRONAUT[None], Faces.none(512, 512)).shape == (0, 3, 512, 512)


def test_a_thousand_faces_are_too_many_at_once():
    faces = found(POINTS.expand(1000, 5, 2), 512, 512)
    with pytest.raises(ValueError, match="1000 faces are too many .* keep at most 256"):
        align(ASTRONAUT[None], faces)
