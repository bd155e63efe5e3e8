"""Neighbourhood attention against its definition, position by position."""

import pytest
import torch
from restoreflow.models.networks import neighborhood
from restoreflow.models.networks.neighborhood import neighborhood_attention


def by_definition(q, k, v, size):
    """One query at a time: its window shifted inward, softmax over exactly size^2 keys."""
    out = torch.empty_like(v)
    height, width = q.shape[1:3]
    for i in range(height):
        for j in range(width):
            top = min(max(i - size // 2, 0), height - size)
            left = min(max(j - size // 2, 0), width - size)
            keys = k[:, top : top + size, left : left + size].flatten(1, 2)
            values = v[:, top : top + size, left : left + size].flatten(1, 2)
            weights = torch.einsum("bhd,bnhd->bhn", q[:, i, j], keys).softmax(-1)
            out[:, i, j] = torch.einsum("bhn,bnhd->bhd", weights, values)
    return out


def random_qkv(*shape, dtype=torch.float32):
    return (torch.randn(shape).to(dtype) for _ in range(3))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(7, 7, 7), (7, 9, 7), (8, 8, 7), (16, 16, 7), (17, 33, 7), (24, 5, 5), (9, 40, 3), (15, 8, 1)],
)
def test_equals_the_definition(height, width, size):
    q, k, v = random_qkv(2, height, width, 3, 8, dtype=torch.float64)
    expected = by_definition(q, k, v, size)
    assert (neighborhood_attention(q, k, v, size) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2), (torch.float16, 5e-3)]
)
def test_every_precision(dtype, tolerance):
    q, k, v = random_qkv(1, 20, 13, 2, 16, dtype=dtype)
    expected = by_definition(q.double(), k.double(), v.double(), 7)
    out = neighborhood_attention(q, k, v, 7)
    assert out.dtype == dtype
    assert (out.double() - expected).abs().max() < tolerance


def test_strips_change_nothing(monkeypatch):
    q, k, v = random_qkv(1, 40, 24, 2, 8)
    whole = neighborhood_attention(q, k, v, 7)
    monkeypatch.setattr(neighborhood, "piece_bytes", lambda device: 1)
    assert torch.allclose(neighborhood_attention(q, k, v, 7), whole, atol=1e-6)


@pytest.mark.parametrize(("grid", "size"), [((6, 9), 7), ((9, 6), 7), ((9, 9), 4)])
def test_refuses_what_has_no_window(grid, size):
    q, k, v = random_qkv(1, *grid, 1, 4)
    with pytest.raises(ValueError, match="odd window no larger than the grid"):
        neighborhood_attention(q, k, v, size)


def test_what_one_mode_has_cut_serves_every_other():
    neighborhood._cut.cache_clear()
    with torch.inference_mode():
        neighborhood_attention(*random_qkv(1, 9, 9, 1, 4), 7)
    q, k, v = (part.requires_grad_() for part in random_qkv(1, 9, 9, 1, 4))
    neighborhood_attention(q, k, v, 7).sum().backward()
    assert v.grad is not None
