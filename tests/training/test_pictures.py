"""Procedural pictures: the same for the same seed, in range, grey where they should be."""

import numpy as np
import pytest
from restoreflow.training import leaves, pictures, strands

SIDE = 64


@pytest.mark.parametrize("draw", pictures.LAYERS)
def test_layers_are_seeded(draw):
    one, other = (draw(np.random.default_rng(1), SIDE) for _ in range(2))
    assert one.shape == (SIDE, SIDE, 3)
    assert np.isfinite(one).all()
    assert np.array_equal(one, other)


def test_a_picture_depends_on_its_number_and_the_seed_alone():
    few = pictures.draw_pictures(2, 7, SIDE, pictures.RICH, processes=1)
    more = pictures.draw_pictures(3, 7, SIDE, pictures.RICH, processes=2)
    assert few.dtype == np.uint8
    assert np.array_equal(few, more[:2])
    assert not np.array_equal(more[1], more[2])
    assert not np.array_equal(few[0], pictures.draw_picture(0, 8, SIDE))


def test_some_pictures_are_grey():
    drawn = [pictures.draw_picture(number, 0, 32) for number in range(60)]
    grey = [np.array_equal(p[..., 0], p[..., 1]) and np.array_equal(p[..., 1], p[..., 2])
            for p in drawn]  # fmt: skip
    assert 4 <= sum(grey) <= 20


def test_leaves_cover_the_picture_with_many_colours():
    picture = leaves.draw_leaves(np.random.default_rng(3), SIDE)
    assert 0 <= picture.min() < picture.max() <= 1
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_strands_follow_their_field(monkeypatch):
    """In a field without turns, luma changes less along the strokes than across them."""
    monkeypatch.setattr(strands, "spectral_noise", lambda rng, size, beta: np.zeros((size, size)))
    ratios = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rng.uniform(0.1, 1.2), rng.uniform(2.5, 3.5)
        angle = rng.uniform(0, 2 * np.pi)
        luma = strands.draw_strands(np.random.default_rng(seed), SIDE) @ leaves.LUMA
        down, right = np.gradient(luma)
        along = np.sin(angle) * down + np.cos(angle) * right
        across = np.cos(angle) * down - np.sin(angle) * right
        ratios.append(np.square(along).sum() / np.square(across).sum())
    assert max(ratios) < 0.6
