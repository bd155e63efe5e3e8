"""Soft masks: 1 in the face, 0 at the crop's border, no jump and no kink between."""

import pytest
import torch
from restoreflow.faces.geometry import TEMPLATE
from restoreflow.faces.masks import FEATHER, SHAPES, softened


@pytest.fixture(params=SHAPES)
def mask(request) -> torch.Tensor:
    return SHAPES[request.param]()


def test_it_holds_the_face_and_spares_the_border(mask):
    x, y = TEMPLATE.long().T
    assert mask.shape == (512, 512)
    assert (mask[y, x] == 1).all()
    assert (mask[:16] == 0).all() and (mask[-16:] == 0).all()
    assert (mask[:, :16] == 0).all() and (mask[:, -16:] == 0).all()
    assert mask.min() == 0 and mask.max() == 1


def test_it_is_symmetric(mask):
    assert torch.equal(mask, mask.flip(1))


def test_it_rises_gently_and_without_a_kink(mask):
    """15/8 of the mean slope at most; the slope itself changes little from pixel to pixel."""
    for axis in (0, 1):
        slope = mask.diff(dim=axis)
        assert slope.abs().max() < 1.3 * 15 / 8 / FEATHER
        assert slope.diff(dim=axis).abs().max() < 3e-3


def test_a_narrow_feather_covers_more():
    for shape in SHAPES.values():
        assert shape(10.0).sum() > shape(80.0).sum()


def test_a_drawn_mask_gets_soft_edges_and_ends_before_the_border():
    drawn = torch.zeros(2, 256, 256)
    drawn[0, 100:150, 80:180] = 1
    drawn[1] = 1
    soft = softened(drawn)
    assert soft.shape == (2, 512, 512)
    assert soft[0, 250, 260] == 1 and soft[0, 100, 260] == 0
    assert soft[0].diff(dim=0).abs().max() < 0.15
    assert (soft[1, 0] == 0).all() and soft[1, 256, 256] == 1
    assert soft.min() >= 0 and soft.max() <= 1


@pytest.mark.parametrize("value", [float("nan"), -1.0, 255.0])
def test_a_mask_of_other_values_is_refused(value):
    with pytest.raises(ValueError, match="from 0 to 1"):
        softened(torch.full((8, 8), value))
