"""How boxes overlap, against closed forms."""

import time

import pytest
import torch
from restoreflow.faces.boxes import overlap, share_inside, suppress


def test_overlap_in_closed_form():
    box = torch.tensor([0.0, 0, 10, 10])
    others = torch.tensor(
        [[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [50, 50, 60, 60], [2, 2, 7, 7]]
    )
    assert torch.allclose(overlap(box, others), torch.tensor([1, 1 / 3, 0, 0, 0.25]))


def test_the_best_of_each_face_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10], [2, 0, 12, 10]])
    scores = torch.tensor([0.7, 0.9, 0.8, 0.6])
    assert suppress(boxes, scores, 0.3).tolist() == [1, 2]
    assert suppress(boxes, scores, 0.9).tolist() == [1, 2, 0, 3]
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []


def test_what_is_dropped_drops_nothing_itself():
    """A chain: the middle goes, and with it its grip on the last."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert suppress(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_an_overlap_equal_to_the_threshold_stays_and_equals_keep_their_order():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert suppress(boxes, torch.ones(2), 0.5).tolist() == [0, 1]
    assert suppress(boxes, torch.ones(2), 0.49).tolist() == [0]


def test_a_thousand_boxes_take_no_time():
    corners = 1000 * torch.rand(1000, 2)
    boxes = torch.cat([corners, corners + 40], 1)
    start = time.perf_counter()
    kept = suppress(boxes, torch.rand(1000), 0.3)
    assert time.perf_counter() - start < 5
    for index in kept:
        others = kept[kept != index]
        assert (overlap(boxes[index], boxes[others]) <= 0.3).all()


@pytest.mark.parametrize(
    ("box", "share"),
    [((0, 0, 10, 10), 0.5), ((0, 0, 5, 10), 1), ((5, 0, 10, 9), 0), ((-10, 0, 10, 10), 0.5)],
)
def test_share_of_a_box_in_a_region(box, share):
    region = torch.zeros(20, 20)
    region[:, :5] = 1
    assert share_inside(torch.tensor(box).float(), region) == pytest.approx(share)
