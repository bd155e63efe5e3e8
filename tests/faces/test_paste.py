"""Pasting: bit for bit where nothing changed, no more than all of a change, and grey stays grey."""

import pytest
import torch
from restoreflow.faces.align import align
from restoreflow.faces.detections import Faces
from restoreflow.faces.masks import SHAPES, ellipse, softened
from restoreflow.faces.paste import paste
from scenes import ASTRONAUT, POINTS, collage, drawn, found, placed, psnr

MASK = ellipse()


@pytest.fixture(scope="module")
def group() -> tuple[torch.Tensor, Faces, torch.Tensor]:
    photo, faces = collage()
    return photo, faces, align(photo, faces)


@pytest.mark.parametrize("match_colour", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_unchanged_crops_give_the_photo_bit_for_bit(group, shape, match_colour):
    photo, faces, crops = group
    result, union = paste(photo, crops, faces, SHAPES[shape](), match_colour=match_colour)
    assert torch.equal(result, photo)
    assert union.max() == 1


@pytest.mark.parametrize(("side", "face", "degrees"), [(97, 33, 4), (301, 100, 45), (1203, 700, 9)])
def test_unchanged_crops_of_any_size_are_exact(side, face, degrees):
    photo, faces = placed(side, face, degrees)
    photo[..., ::7] = 1.5  # a photo may exceed the usual range
    untouched = align(photo, faces)
    assert torch.equal(paste(photo, untouched, faces, MASK)[0], photo)


def test_unchanged_crops_of_another_size_are_exact(group):
    photo, faces, _ = group
    crops = align(photo, faces, size=768)
    assert torch.equal(paste(photo, crops, faces, MASK)[0], photo)


def test_outside_every_mask_nothing_changes(group):
    photo, faces, crops = group
    result, union = paste(photo, torch.rand_like(crops), faces, MASK)
    changed = (result != photo).any(1)
    assert not changed[union == 0].any()
    assert changed[union > 0.01].float().mean() > 0.99
    assert result.min() >= 0 and result.max() <= 1


def test_each_crop_changes_its_own_picture():
    photos = torch.stack([ASTRONAUT, ASTRONAUT, ASTRONAUT])
    faces = Faces.from_points(POINTS.expand(2, 5, 2), torch.tensor([2, 0]), 512, 512)
    crops = align(photos, faces)
    crops[0] = 0
    result, union = paste(photos, crops, faces, MASK)
    assert torch.equal(result[:2], photos[:2])
    assert result[2, :, 115, 225].max() < 0.05
    assert (union[1] == 0).all() and torch.equal(union[0], union[2])


def test_crops_land_on_an_enlarged_canvas():
    faces = found(POINTS[None], 512, 512)
    canvas = drawn(torch.tensor([[[2.0, 0, 0], [0, 2, 0]]]).double(), 1024, 1024)[None]
    result, union = paste(canvas, align(ASTRONAUT[None], faces), faces, MASK)
    assert result.shape == canvas.shape and union.shape == (1, 1024, 1024)
    assert psnr(result, canvas, union[0] > 0) > 42
    _, small = paste(ASTRONAUT[None], align(ASTRONAUT[None], faces), faces, MASK)
    assert psnr(torch.nn.functional.avg_pool2d(union, 2), small) > 60


def overlapping(photo: torch.Tensor) -> Faces:
    """Two faces that share a good part of their masks."""
    return found(torch.stack([POINTS, POINTS + torch.tensor([45.0, 20])]), *photo.shape[-2:])


def test_overlapping_faces_share_their_pixels():
    photo = torch.zeros(1, 3, 512, 512)
    faces = overlapping(photo)
    both, union = paste(photo, torch.ones(2, 3, 512, 512), faces, MASK)
    assert (both[:, 0] <= union + 1e-6).all()
    crops = torch.stack([torch.ones(3, 512, 512), torch.zeros(3, 512, 512)])
    first, _ = paste(photo, crops, faces, MASK)
    second, _ = paste(photo, 1 - crops, faces, MASK)
    assert torch.allclose(first + second, both, atol=1e-6)
    middles = (POINTS.mean(0).long(), (POINTS.mean(0) + torch.tensor([45, 20])).long())
    assert first[0, 0, middles[0][1], middles[0][0]] > 0.9
    assert first[0, 0, middles[1][1], middles[1][0]] < 0.1
    assert first.diff(dim=3).abs().max() < 0.1


def test_crops_that_alone_count_share_their_pixels_too():
    photo = torch.zeros(1, 3, 512, 512)
    faces = overlapping(photo)
    both, union = paste(photo, torch.ones(2, 3, 512, 512), faces, MASK, keep_detail=False)
    kept, _ = paste(photo, torch.ones(2, 3, 512, 512), faces, MASK)
    assert torch.allclose(both, kept, atol=1e-5)
    assert (both[:, 0] <= union + 1e-6).all()
    grey = ASTRONAUT[None].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    result, _ = paste(grey, torch.rand(2, 3, 512, 512), faces, MASK, keep_detail=False)
    assert torch.equal(result[:, 0], result[:, 1]) and torch.equal(result[:, 1], result[:, 2])


def test_the_order_of_faces_makes_no_difference():
    faces, crops = overlapping(ASTRONAUT), torch.rand(2, 3, 512, 512)
    one, _ = paste(ASTRONAUT[None], crops, faces, MASK)
    other, _ = paste(ASTRONAUT[None], crops.flip(0), faces.subset([1, 0]), MASK)
    assert torch.allclose(one, other, atol=1e-6)


def test_grey_photos_stay_grey(group):
    photo, faces, crops = group
    grey = photo.mean(1, keepdim=True).expand_as(photo).contiguous()
    result, _ = paste(grey, crops, faces, MASK)
    assert torch.equal(result[:, 0], result[:, 1]) and torch.equal(result[:, 1], result[:, 2])
    assert not torch.equal(result, grey)


def chroma(picture: torch.Tensor) -> torch.Tensor:
    return picture - picture.mean(1, keepdim=True)


@pytest.mark.parametrize("keep_detail", [True, False])
def test_a_grey_photo_that_a_network_has_restored_takes_no_colour(group, keep_detail):
    photo, faces, crops = group
    grey = photo.mean(1, keepdim=True).expand_as(photo)
    restored = (grey + torch.randn_like(grey) * 1.5 / 255).clamp(0, 1)
    result, _ = paste(restored, crops, faces, MASK, keep_detail=keep_detail)
    assert not torch.equal(result, restored)
    assert chroma(result).abs().max() <= chroma(restored).abs().max() + 2 / 255


@pytest.mark.parametrize("kind", ["a grey part", "one face in colour", "sepia"])
def test_little_colour_is_colour(group, kind):
    photo, faces, _ = group
    base = photo.mean(1, keepdim=True).expand_as(photo).clone()
    if kind == "a grey part":
        base[..., :100] = photo[..., :100]
    elif kind == "one face in colour":
        base[..., 80:100, 510:530] = torch.tensor([0.6, 0.4, 0.3])[:, None, None]
    else:
        base = base * torch.tensor([1.0, 0.95, 0.88])[:, None, None]
    tinted = align(base, faces) * torch.tensor([1.0, 0.7, 0.5])[:, None, None]
    result, _ = paste(base, tinted, faces, MASK)
    assert chroma(result - base).abs().max() > 0.05


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("keep_detail", [True, False])
def test_other_types_of_numbers(group, dtype, keep_detail):
    photo, faces, _ = group
    photo = (photo.double() + 1e-9).to(dtype)
    crops = align(photo, faces)
    assert crops.dtype == dtype
    unchanged, _ = paste(photo, crops, faces, MASK)
    assert torch.equal(unchanged, photo)
    result, union = paste(photo, 1 - crops, faces, MASK, keep_detail=keep_detail)
    assert result.dtype == union.dtype == dtype and result.isfinite().all()
    assert torch.equal(result[:, :, union[0] == 0], photo[:, :, union[0] == 0])
    single, _ = paste(photo.float(), 1 - crops.float(), faces, MASK, keep_detail=keep_detail)
    assert (result - single).abs().max() < 0.01


def test_a_whole_photo_in_place_of_a_crop_is_refused():
    photo, faces = placed(400, 90, 5)
    crops = align(photo, faces)
    for side in (400, 800):
        whole = torch.nn.functional.interpolate(photo, (side, side), mode="bilinear")
        with pytest.raises(ValueError, match="Align Faces seems to be bypassed"):
            paste(photo, whole * 0.8 + 0.1, faces, MASK)
    paste(photo, crops * 0.8 + 0.1, faces, MASK)
    itself = Faces.aligned(1, 512, 512)
    paste(ASTRONAUT[None], align(ASTRONAUT[None], itself) * 0.9, itself, MASK)


def test_small_faces_before_large_ones_change_as_much_as_their_masks():
    photo = torch.zeros(1, 3, 512, 512)
    middle = POINTS.mean(0)
    points = torch.stack([middle + 2.2 * (POINTS - middle), POINTS + torch.tensor([95.0, 60])])
    result, union = paste(photo, torch.ones(2, 3, 512, 512), found(points, 512, 512), MASK)
    assert torch.allclose(result[0, 0], union[0], atol=1e-5)


def test_colours_are_matched_along_the_rim_and_detail_stays(group):
    photo, faces, crops = group
    tint = torch.tensor([0.1, -0.05, 0.03])[:, None, None]
    tinted = (0.2 + 0.6 * crops) + tint
    detail = torch.zeros(3, 512, 512)
    detail[:, 250:260, 250:260] = 0.2
    base = photo * 0.6 + 0.2
    matched, union = paste(base, tinted + detail, faces, MASK, match_colour=True)
    plain, _ = paste(base, 0.2 + 0.6 * crops + detail, faces, MASK)
    assert psnr(matched, plain, union[0] > 0) > 55


def test_a_mask_for_each_face(group):
    photo, faces, crops = group
    masks = torch.zeros(4, 300, 300)
    masks[1, 100:200, 100:200] = 1
    _, union = paste(photo, crops, faces, softened(masks))
    x, y = faces.points[1].mean(0).long()
    assert union[0, y, x] == 1
    assert (union > 0).float().mean() < 0.02


def test_no_face_no_change():
    photo = torch.rand(2, 3, 40, 50)
    result, union = paste(photo, torch.zeros(0, 3, 512, 512), Faces.none(40, 50), MASK)
    assert torch.equal(result, photo) and (union == 0).all()


@pytest.mark.parametrize(
    ("crops", "mask", "sentence"),
    [
        (torch.zeros(3, 3, 512, 512), MASK, "3 restored crops came for 4 faces"),
        (torch.full((4, 3, 512, 512), torch.nan), MASK, "values that are not numbers"),
        (torch.zeros(4, 3, 512, 500), MASK, "square; these are 500 x 512 pixels"),
        (torch.zeros(4, 3, 512, 512), MASK[:400], "one square, or one for each of 4 faces"),
        (torch.zeros(4, 3, 512, 512), MASK.expand(3, -1, -1), "one for each of 4 faces"),
    ],
)
def test_what_does_not_belong_together_is_refused(group, crops, mask, sentence):
    photo, faces, _ = group
    with pytest.raises(ValueError, match=sentence):
        paste(photo, crops, faces, mask)
