"""Distances of sets against closed forms and sums written out."""

import pytest
import torch
from restoreflow.sampling import populations
from restoreflow.sampling.populations import Population, frechet, kernel_distance, levels


def population(features, batch=7):
    found = Population(features.shape[1])
    for rows in features.split(batch):
        found.add(rows)
    return found


def test_a_shifted_set_is_as_far_as_its_shift():
    a = torch.randn(300, 5)
    shift = torch.tensor([3.0, 0, -4.0, 0, 0])
    assert frechet(population(a), population(a + shift)) == pytest.approx(25, rel=1e-5)
    assert frechet(population(a), population(a)) == pytest.approx(0, abs=1e-5)


def test_a_stretched_set():
    a = torch.randn(400, 3)
    a = a - a.mean(0)
    spread = a.double().var(0).sum().item()
    assert frechet(population(a), population(3 * a)) == pytest.approx(4 * spread, rel=1e-5)


def test_batches_and_order_change_nothing():
    a, b = torch.randn(50, 4), torch.randn(60, 4)
    once = frechet(population(a, 50), population(b, 60))
    again = frechet(population(a.flip(0), 3), population(b, 1))
    assert once == pytest.approx(again, rel=1e-10)


def test_the_kernel_distance_is_the_sum_over_pairs():
    a, b = torch.randn(9, 4).double(), torch.randn(6, 4).double()

    def k(x, y):
        return ((x @ y).item() / 4 + 1) ** 3

    inside = [
        sum(k(x, y) for i, x in enumerate(z) for j, y in enumerate(z) if i != j)
        / len(z)
        / (len(z) - 1)
        for z in (a, b)
    ]
    across = sum(k(x, y) for x in a for y in b) / 54
    expected = sum(inside) - 2 * across
    assert kernel_distance(population(a.float()), population(b.float())) == pytest.approx(
        expected, rel=1e-4
    )


def test_the_kernel_distance_has_no_bias():
    found = [
        kernel_distance(population(torch.randn(12, 3)), population(torch.randn(12, 3)))
        for _ in range(200)
    ]
    mean = torch.tensor(found).mean().item()
    assert abs(mean) < 4 * torch.tensor(found).std().item() / 200**0.5


def test_of_a_large_set_a_fair_sample_is_kept(monkeypatch):
    monkeypatch.setattr(populations, "KEPT", 100)
    found = population(torch.arange(10_000.0)[:, None])
    assert len(found) == 10_000 and found.kept.shape == (100, 1)
    assert found.kept.mean().item() == pytest.approx(5000, abs=4 * 2887 / 10)


def test_a_set_of_one_is_refused():
    with pytest.raises(ValueError, match="at least 2 pictures; got 1 and 3"):
        kernel_distance(population(torch.rand(1, 2)), population(torch.rand(3, 2)))


def test_small_copies_are_smooth():
    board = ((torch.arange(64)[:, None] + torch.arange(96)) % 2).float().expand(1, 3, -1, -1)
    small = levels(board, 16)
    assert small.dtype == torch.uint8 and small.shape == (1, 3, 16, 16)
    assert (small.float() - 127.5).abs().max() < 4, "without smoothing a chequered ground is noise"
