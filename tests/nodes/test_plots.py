"""Distortion-Perception Plot: a legible picture of the points."""

import sys

import pytest
import torch


@pytest.fixture
def plot(nodes, host):
    return nodes.plots.PlotTradeOff.execute


def sweep(count=5):
    a, b = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    return torch.cat([torch.lerp(a, b, n / (count - 1)) for n in range(count)])


def test_a_plot_of_a_column_at_300_dpi(plot):
    image, table = plot(sweep(), "0, 0.25, 0.5, 0.75, 1", reference=torch.rand(1, 32, 32, 3)).args
    assert image.shape == (1, 900, 1200, 3) and image.dtype == torch.float32
    assert image.min() < 0.3 and image.max() == 1 and image.mean() > 0.8
    assert image[:, :8].mean() > 0.99, "no title"
    lines = table.splitlines()
    assert len(lines) == 5 and lines[1].startswith("realism 0.25: RMSE ")
    assert plot(sweep(), "0 .25 .5 .75 1", natural=torch.rand(2, 20, 24, 1), width=400).args[
        0
    ].shape == (1, 300, 400, 3)


def test_equal_points_are_drawn(plot):
    still = torch.full((3, 16, 16, 3), 0.5)
    assert plot(still, "-1, 0, 1", reference=still[:1]).args[0].isfinite().all()


def test_bad_input_is_one_sentence(plot):
    with pytest.raises(ValueError, match="5 pictures cannot be shared out to 2 realisms"):
        plot(sweep(), "0, 1", reference=sweep(2))
    with pytest.raises(ValueError, match="Wire a reference"):
        plot(sweep(), "0, 0.25, 0.5, 0.75, 1")
    with pytest.raises(ValueError, match="The sweep's pictures and The reference must be of one"):
        plot(sweep(), "0, 0.25, 0.5, 0.75, 1", reference=torch.rand(1, 32, 36, 3))


def test_a_missing_library_says_how_to_get_it(plot, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RuntimeError, match="python -m pip install matplotlib"):
        plot(sweep(2), "0, 1", reference=torch.rand(1, 32, 32, 3))
