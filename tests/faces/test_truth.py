"""Changed crops against pictures drawn directly, and the seam that must not be seen."""

import math

import pytest
import torch
from restoreflow.faces import geometry
from restoreflow.faces.align import align
from restoreflow.faces.masks import FEATHER, ellipse
from restoreflow.faces.paste import paste
from scenes import ASTRONAUT, POINTS, drawn, found, placed, psnr, turned
from scipy.ndimage import gaussian_filter

MASK = ellipse()
BLURRED = torch.from_numpy(gaussian_filter(ASTRONAUT.numpy(), (0, 2, 2)))
CROP = drawn(geometry.fit(POINTS[None]), 512, 512)[None]
"""Of the sharp photo, drawn by SciPy."""

SIZES = [(100, 0), (137, 45), (220, -8), (345, 90), (480, 30), (1000, 3)]
"""Height of the face and angle."""


@pytest.mark.parametrize(("face", "degrees"), SIZES)
def test_sharp_crops_make_a_blurred_photo_sharp(face, degrees):
    side = int(1.7 * face)
    sharp, faces = placed(side, face, degrees)
    blurred = drawn(turned(side, face, degrees), side, side, BLURRED)[None]
    result, union = paste(blurred, CROP, faces, MASK)
    truth = blurred + union * (sharp - blurred)
    where = union[0] > 0
    assert psnr(result, truth, where) > 50
    assert psnr(blurred, truth, where) < 30


def drawing(places: torch.Tensor) -> torch.Tensor:
    """Ripples of 6 to 60 px in the template at places [..., 2] -> [...], of amplitude 0.1."""
    x, y = places.unbind(-1)
    waves = [torch.sin((x * math.cos(a) + y * math.sin(a)) * 2 * math.pi / period)
             for a, period in ((0.3, 60), (1.4, 23), (2.2, 6), (0.8, 11))]  # fmt: skip
    return 0.1 * sum(waves) / 4


@pytest.mark.parametrize(("face", "degrees"), SIZES)
def test_a_drawn_change_arrives_as_drawn(face, degrees):
    """Against the mean over many places in each pixel's area; fine ripples must not alias."""
    side = int(1.7 * face)
    photo = torch.full((1, 3, side, side), 0.5)
    faces = found(geometry.move(turned(side, face, degrees), POINTS), side, side)
    line = torch.arange(512) + 0.5
    change = drawing(torch.stack(torch.meshgrid(line, line, indexing="xy"), -1))
    result, union = paste(photo, align(photo, faces) + change, faces, MASK)
    truth = torch.zeros(side, side)
    count = 16 if face < 150 else 4 if face < 400 else 2
    steps = (torch.arange(count) + 0.5) / count
    for dy in steps:
        for dx in steps:
            columns, rows = torch.arange(side) + dx, torch.arange(side) + dy
            places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
            truth += drawing(geometry.move(faces.transforms, places.flatten(0, 1))[0]).view(
                side, side
            )
    truth = photo + union * truth / count**2
    assert psnr(result, truth, union[0] > 0) > 43


def test_detail_finer_than_the_crop_stays():
    face, side = 1000, 1700
    faces = found(geometry.move(turned(side, face), POINTS), side, side)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    photo = (0.5 + 0.2 * ((rows + columns) % 2)).expand(1, 3, side, side)
    brighter = align(photo, faces) + 0.1
    result, union = paste(photo, brighter, faces, MASK)
    assert psnr(result, photo + 0.1 * union) > 60


@pytest.mark.parametrize("match_colour", [False, True])
def test_noise_finer_than_the_crop_goes_where_the_crop_alone_counts(match_colour):
    face, side = 1000, 1700
    faces = found(geometry.move(turned(side, face), POINTS), side, side)
    photo = 0.5 + 0.1 * torch.randn(1, 3, side, side)
    smooth = torch.full((1, 3, 512, 512), 0.5)
    kept, taken = (
        paste(photo, smooth, faces, MASK, match_colour=match_colour, keep_detail=keep)
        for keep in (True, False)
    )
    inside = taken[1][0] > 0.99
    assert kept[0][0, :, inside].std() > 0.09
    assert taken[0][0, :, inside].std() < 0.01
    outside = taken[1][0] == 0
    assert torch.equal(taken[0][..., outside], photo[..., outside])


def slope(picture: torch.Tensor) -> torch.Tensor:
    """[3, H, W] -> length of the gradient of luma, [H - 1, W - 1]."""
    grey = picture.mean(0)
    return torch.hypot(grey.diff(dim=0)[:, :-1], grey.diff(dim=1)[:-1])


@pytest.mark.parametrize("match_colour", [False, True])
@pytest.mark.parametrize(("face", "degrees"), [(100, 20), (330, -30), (500, 5)])
def test_no_seam_along_the_rim(face, degrees, match_colour):
    """A crop that is too bright and too sharp: along the rim the gradient lies between the
    photo's and the crop's own, up to the feather's slope, which is below one step of 8 bits."""
    side = int(1.7 * face)
    photo = drawn(turned(side, face, degrees), side, side, BLURRED)[None]
    sharp, faces = placed(side, face, degrees)
    shift = 0.05
    result, union = paste(photo, CROP + shift, faces, MASK, match_colour=match_colour)
    rim = ((union[0] > 0.01) & (union[0] < 0.99))[:-1, :-1]
    feather = 1.3 * 15 / 8 * shift * geometry.scale(faces.transforms).item() / FEATHER
    around = torch.maximum(slope(photo[0]), slope(sharp[0]))[rim].mean()
    assert slope(result[0])[rim].mean() <= around
    plain = torch.full_like(photo, 0.5)
    stepped, _ = paste(plain, torch.full_like(CROP, 0.5 + shift), faces, MASK)
    assert slope(stepped[0]).max() <= feather * 1.02
