"""The similarity of five points onto the template, against closed forms."""

import math

import pytest
import torch
from restoreflow.faces import geometry
from restoreflow.faces.geometry import MIRRORED, PUBLISHED, SIDE, TEMPLATE


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> torch.Tensor:
    c, s = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
    return torch.tensor([[[c, -s, shift[0]], [s, c, shift[1]]]], dtype=torch.float64)


def noisy(count: int) -> torch.Tensor:
    return TEMPLATE + 20 * torch.randn(count, 5, 2, dtype=torch.float64)


def error(transform: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return (geometry.move(transform, points) - TEMPLATE).square().sum((1, 2))


def test_the_template_is_symmetric_and_close_to_the_published_one():
    mirrored = torch.stack([SIDE - TEMPLATE[:, 0], TEMPLATE[:, 1]], 1)[list(MIRRORED)]
    assert torch.allclose(mirrored, TEMPLATE)
    assert (TEMPLATE - torch.tensor(PUBLISHED)).norm(dim=1).max() < 1.2


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("degrees", [0, 30, 90, 179.9, -120])
def test_a_moved_template_is_found_again(scale, degrees):
    there = similarity(scale, degrees, (4000.3, -17.0))
    fitted = geometry.fit(geometry.move(there, TEMPLATE))
    assert torch.allclose(fitted, geometry.invert(there), atol=1e-9, rtol=1e-9)
    assert torch.allclose(geometry.scale(fitted), torch.tensor(1 / scale).double())


def test_the_fit_has_the_least_squares_of_all_similarities():
    """The same as the linear problem in (a, b, x, y): x' = a x - b y + x0, y' = b x + a y + y0."""
    points = noisy(1)
    x, y = points[0].T
    one, none = torch.ones(5).double(), torch.zeros(5).double()
    rows = torch.cat([torch.stack([x, -y, one, none], 1), torch.stack([y, x, none, one], 1)])
    a, b, x0, y0 = torch.linalg.lstsq(rows, TEMPLATE.T.reshape(-1)).solution
    expected = torch.stack([a, -b, x0, b, a, y0]).reshape(1, 2, 3)
    assert torch.allclose(geometry.fit(points), expected)


def test_no_other_similarity_comes_closer():
    points = noisy(200)
    fitted = geometry.fit(points)
    other = geometry.compose(similarity(1.01, 1.0, (1.0, -2.0)), fitted)
    assert (error(fitted, points) < error(other, points)).all()


def test_it_never_reflects():
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0])
    for points in (mirrored[None], noisy(100), torch.randn(100, 5, 2)):
        assert (torch.linalg.det(geometry.fit(points)[..., :2]) > 0).all()


def test_a_mirrored_face_has_the_mirrored_transform():
    points = noisy(10)
    width = 700
    mirrored = torch.stack([width - points[..., 0], points[..., 1]], -1)[:, list(MIRRORED)]
    places = geometry.move(geometry.fit(points), points)
    there = geometry.move(geometry.fit(mirrored), mirrored)[:, list(MIRRORED)]
    assert torch.allclose(there[..., 0], SIDE - places[..., 0])
    assert torch.allclose(there[..., 1], places[..., 1])


def test_a_batch_is_fitted_one_by_one():
    points = noisy(7)
    singly = torch.cat([geometry.fit(one[None]) for one in points])
    assert torch.allclose(geometry.fit(points), singly, atol=1e-12)


def test_there_and_back():
    first, second = geometry.fit(noisy(9)), geometry.fit(3 * noisy(9))
    points = torch.randn(9, 4, 2).double()
    moved = geometry.move(second, geometry.move(first, points))
    assert torch.allclose(geometry.move(geometry.compose(second, first), points), moved)
    same = geometry.compose(geometry.invert(first), first)
    assert torch.allclose(same, torch.eye(2, 3).double().expand(9, 2, 3), atol=1e-9)


def test_likeness_knows_a_face_from_a_wrong_order():
    exchanged = TEMPLATE[list(MIRRORED)]
    profile = torch.stack([0.1 * TEMPLATE[:, 0], TEMPLATE[:, 1]], 1)
    looking_down = torch.stack([TEMPLATE[:, 0], 0.3 * TEMPLATE[:, 1]], 1)
    upside_down = -TEMPLATE
    points = [TEMPLATE, upside_down, exchanged, profile, looking_down, torch.ones(5, 2)]
    like = geometry.likeness(torch.stack([p.double() for p in points]))
    assert torch.allclose(like[:2], torch.ones(2).double())
    assert like[2] < 0.02 and like[5] == 0
    assert (like[3:5] > 0.4).all()
