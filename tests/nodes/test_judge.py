"""Compare to Reference and Judge Without Reference: numbers, reports, and what is refused."""

import math
import sys

import pytest
import torch
from restoreflow.sampling.presets import PRESETS

NOISE = PRESETS["Noise 25/255 (demo)"]


@pytest.fixture
def compare(nodes, host):
    def run(image, reference, lpips=False, **more):
        return nodes.judge.CompareToReference.execute(image, reference, lpips, **more)

    return run


@pytest.fixture
def judge(nodes, host):
    return nodes.judge.JudgeWithoutReference.execute


def image(count=1, height=32, width=24, channels=3):
    return 0.3 + 0.4 * torch.rand(count, height, width, channels)


def test_a_constant_error(compare):
    truth = image(2)
    answer = compare(truth + 0.1 * torch.tensor([1.0, 0.1])[:, None, None, None], truth)
    psnr, ssim, texture, lpips, report = answer.args
    assert psnr == pytest.approx(30, abs=1e-3) and 0.9 < ssim < 1 and texture < 1e-3
    assert math.isnan(lpips)
    lines = report.splitlines()
    assert len(lines) == 3 and lines[0].startswith("picture 1: PSNR 20.00 dB, SSIM 0.")
    assert lines[2].startswith("all 2: PSNR 30.00 dB")
    assert answer.ui.as_dict() == {"text": (report,)}


def test_grey_and_alpha_are_taken(compare):
    grey = image(channels=1)
    assert compare(grey, grey.repeat(1, 1, 1, 3)).args[0] == math.inf
    assert compare(torch.cat([grey, grey, grey, 0 * grey], -1), grey).args[0] == math.inf


def test_bad_input_is_one_sentence(compare, judge):
    with pytest.raises(
        ValueError, match=r"The picture and The reference .*got 24 x 32 and 24 x 40"
    ):
        compare(image(), image(1, 40))
    with pytest.raises(ValueError, match="The reference holds values that are not numbers"):
        compare(image(), image() * torch.nan)
    with pytest.raises(ValueError, match="The picture must be an IMAGE"):
        compare(image()[:0], image())
    with pytest.raises(ValueError, match="Wire the posterior mean, or the degraded photo"):
        judge(image())
    with pytest.raises(ValueError, match="needs both the degraded photo and its degradation"):
        judge(image(), degraded=image())
    with pytest.raises(TypeError, match="needs a Degradation; got a str"):
        judge(image(), degraded=image(), degradation="noise")


def test_the_indicator_and_the_residual(judge):
    mean = image(2)
    photo = mean + 25 / 255
    indrmse, residual, ratio, niqe, musiq, report = judge(
        mean + 5 / 255, posterior_mean=mean, degraded=photo, degradation=NOISE
    ).args
    assert indrmse == pytest.approx(5, abs=1e-3)
    assert residual == pytest.approx(20, abs=1e-3) and ratio == pytest.approx(0.8, abs=1e-4)
    assert math.isnan(niqe) and math.isnan(musiq)
    assert "IndRMSE 5.00/255, residual 20.00/255, residual 0.80 x noise" in report


def test_what_explains_the_photo_leaves_nothing(judge):
    picture = image(1, 64, 64)
    known = PRESETS["Downscale 8 and noise 0.05 (PMRF super-resolution)"]
    photo = known.pictured(known.apply(picture.movedim(-1, 1))).movedim(1, -1)
    assert judge(picture, degraded=photo, degradation=known).args[1] < 1e-4
    blind = PRESETS["Blur, noise and JPEG (PMRF blind face)"]
    with pytest.raises(ValueError, match="no fixed operator"):
        judge(picture, degraded=photo, degradation=blind)


def test_a_missing_library_says_how_to_get_it(compare, judge, nodes, monkeypatch):
    for name in ("torch_fidelity", "torch_fidelity.sample_similarity_lpips", "pyiqa"):
        monkeypatch.setitem(sys.modules, name, None)
    error = nodes.libraries.MissingLibraryError
    with pytest.raises(error, match="LPIPS needs .* python -m pip install torch-fidelity"):
        compare(image(), image(), lpips=True)
    for name in ("niqe", "musiq"):
        with pytest.raises(error, match=f"{name.upper()} needs .* pip install pyiqa"):
            judge(image(), **{name: True})


class Library(torch.nn.Module):
    """Stands for a library's network: the mean difference, or the mean, of what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, picture, other=None):
        return (picture if other is None else (picture - other).abs()).mean((1, 2, 3)) * self.weight


@pytest.fixture
def libraries(nodes, host, monkeypatch):
    """The optional libraries, with a network of their calls."""
    from types import SimpleNamespace

    made = {
        "torch_fidelity.sample_similarity_lpips": {"SampleSimilarityLPIPS": lambda kind: Library()},
        "pyiqa": {"create_metric": lambda name, device: Library()},
    }
    for name, content in made.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    for cached in (nodes.libraries._lpips, nodes.libraries._pyiqa):
        cached.cache_clear()
    yield
    for cached in (nodes.libraries._lpips, nodes.libraries._pyiqa):
        cached.cache_clear()


def test_lpips_gets_levels_and_every_picture(libraries, compare):
    truth = image(3, 40, 36)
    answer = compare(truth + 0.1, truth[:1].expand(3, -1, -1, -1), lpips=True)
    expected = 255 * (truth + 0.1 - truth[:1]).abs().mean((1, 2, 3)).mean().item()
    assert answer.args[3] == pytest.approx(expected, rel=1e-4) and "LPIPS" in answer.args[4]


def test_scores_without_reference(libraries, judge):
    picture = image(2, 100, 100)
    answer = judge(picture, niqe=True, musiq=True)
    assert answer.args[3] == pytest.approx(picture.mean().item(), rel=1e-4)
    assert (
        "NIQE" in answer.args[5] and "MUSIQ" in answer.args[5] and "residual" not in answer.args[5]
    )
    with pytest.raises(ValueError, match="NIQE needs pictures of at least 96 x 96 pixels"):
        judge(image(), niqe=True)


def test_weights_that_cannot_be_fetched(nodes, host, compare, monkeypatch):
    from types import SimpleNamespace

    def fetched(kind):
        raise OSError("no network")

    module = SimpleNamespace(SampleSimilarityLPIPS=fetched)
    monkeypatch.setitem(sys.modules, "torch_fidelity.sample_similarity_lpips", module)
    nodes.libraries._lpips.cache_clear()
    with pytest.raises(nodes.libraries.MissingLibraryError, match="could not fetch the weights"):
        compare(image(1, 40, 40), image(1, 40, 40), lpips=True)


def test_the_real_lpips_of_random_weights(nodes, host, compare, monkeypatch):
    """Where the library is installed; its weights come from the network."""
    library = pytest.importorskip("torch_fidelity.sample_similarity_lpips")
    import torchvision

    vgg = lambda: torchvision.models.vgg16(weights=None)  # noqa: E731
    monkeypatch.setattr(library, "torchvision_load_pretrained_vgg16", vgg)
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: None)
    monkeypatch.setattr(library.SampleSimilarityLPIPS, "load_state_dict", lambda *_: None)
    nodes.libraries._lpips.cache_clear()
    truth = image(2, 40, 40)
    assert compare(truth, truth, lpips=True).args[3] == 0
    assert compare(truth, truth.flip(1), lpips=True).args[3] > 0
    nodes.libraries._lpips.cache_clear()
