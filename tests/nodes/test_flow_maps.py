"""Known degradations, flow-map denoising and the solver, on the host's own wires."""

import pytest
import torch
from demo_photos import TRIAL, to_tensor
from restoreflow.sampling.judging import mean_of
from restoreflow.sampling.operators import Operator
from restoreflow.sampling.presets import PRESETS

FLOW_MAP = "demo-flow-map.safetensors"


def smooth(count=1, height=48, width=56, seed=0):
    """IMAGEs of soft colours."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 7, generator=random)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return fine.clamp(0.1, 0.9).movedim(1, -1)


@pytest.fixture
def flow(weights):
    return weights.load(FLOW_MAP, "flow", "float32")


@pytest.fixture
def denoise(nodes, flow):
    def run(image, **settings):
        chosen = {"noise_level": -1.0, "lookahead": 0.0, "mode": "lookahead", **settings}
        return nodes.flow_maps.FlowMapDenoise.execute(flow, image, **chosen).args

    return run


@pytest.fixture
def solve(nodes, flow):
    def run(degradation, image, **settings):
        chosen = {
            **{"seed": 0, "steps": 3, "lookahead": 0.5, "draws": 1, "data_step": "prox"},
            **settings,
        }
        return nodes.flow_maps.PlugAndPlay.execute(flow, degradation, image, **chosen).args

    return run


@pytest.fixture
def degradations(nodes):
    """One of each node, by name."""
    here = nodes.operators
    kernel = torch.rand(1, 4, 6, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 48, 56)
    mask[:, 10:20, 12:30] = 1

    def of(node, *values, **named):
        return node.execute(*values, **named).args[0]

    noise = of(here.DegradeByNoise, 5.0)
    blur = of(here.DegradeByBlur, "gaussian", 1.2, 0.0)
    down = of(here.DegradeByDownscale, 2, "bicubic")
    return {
        "gaussian": blur,
        "motion": of(here.DegradeByBlur, "motion", 7.0, 30.0),
        "circular": of(here.DegradeByBlur, "gaussian", 1.0, 0.0, border="circular"),
        "kernel": of(here.DegradeByBlur, "gaussian", 1.0, 0.0, kernel=kernel),
        "down": down,
        "mask": of(here.DegradeByMask, 0.0, 0, mask=mask),
        "pixels": of(here.DegradeByMask, 0.7, 3),
        "grey": of(here.DegradeByGrey, "luma"),
        "clip": of(here.DegradeByClipping, 2.0),
        "jpeg": of(here.DegradeByJPEG, 20, "4:2:0"),
        "noise": noise,
        "chain": of(here.ChainDegradations, blur, down, noise, of(here.DegradeByJPEG, 80, "4:4:4")),
    }


def test_every_degradation_is_applied_and_undone(nodes, degradations, solve):
    photo = smooth(2)
    for name, degradation in degradations.items():
        assert isinstance(degradation, Operator)
        spoil = nodes.degrade.ApplyDegradation.execute
        (degraded,) = spoil(degradation, photo, 7).args
        assert degraded.shape == ((2, 24, 28, 3) if name in ("down", "chain") else photo.shape)
        restored, residual, ratio = solve(degradation, degraded)
        assert restored.shape == photo.shape, name
        assert 0 <= restored.min() <= restored.max() <= 1
        assert residual >= 0 and ratio >= 0


def test_the_photo_is_explained(nodes, degradations, solve):
    """The residual is the judge's, and as large as the noise."""
    photo = smooth()
    (degraded,) = nodes.degrade.ApplyDegradation.execute(degradations["gaussian"], photo, 7).args
    noise = nodes.operators.DegradeByNoise.execute(8.0).args[0]
    chain = nodes.operators.ChainDegradations.execute(degradations["gaussian"], noise).args[0]
    (degraded,) = nodes.degrade.ApplyDegradation.execute(chain, photo, 7).args
    restored, residual, ratio = solve(chain, degraded, steps=20)
    judged = nodes.judge.judging.residual(restored.movedim(-1, 1), degraded.movedim(-1, 1), chain)
    assert residual == pytest.approx(mean_of("residual", judged), rel=1e-3)
    assert ratio == pytest.approx(residual / 8, rel=1e-6)
    assert 0.5 < ratio < 1.5


def test_a_picture_of_a_kernel_is_as_good_as_the_kernel(nodes, solve):
    """No product in single precision, and none at all once rounded to a file's 8 bits."""
    photo, make = smooth(height=64, width=64), nodes.operators.DegradeByBlur.execute
    known = make("gaussian", 1.2, 0.0).args[0]
    (degraded,) = nodes.degrade.ApplyDegradation.execute(known, photo, 0).args
    expected = solve(known, degraded, steps=10)
    light = known.kernel.float() / known.kernel.max()
    for drawn in (light, (255 * light).round() / 255):
        kernel = drawn[None, ..., None].float().expand(-1, -1, -1, 3)
        told = make("gaussian", 9.0, 0.0, kernel=kernel).args[0]
        restored, _, ratio = solve(told, degraded, steps=10)
        assert (restored - expected[0]).abs().max() < 0.03
        assert ratio < 2


def test_a_motion_without_noise_is_undone_alone_and_in_a_batch(nodes, solve):
    stripes = torch.sign(torch.sin(torch.arange(64) / 2)).view(1, 1, 64, 1)
    photos = (smooth(2, 64, 64) + 0.1 * stripes).clamp(0, 1)
    known = nodes.operators.DegradeByBlur.execute("motion", 9.0, 45.0).args[0]
    (degraded,) = nodes.degrade.ApplyDegradation.execute(known, photos, 0).args
    together = solve(known, degraded, steps=20, lookahead=0.0)[0]
    before, after = ((x - photos).square().mean() for x in (degraded, together))
    assert after < 0.1 * before
    alone = solve(known, degraded[1:], steps=20, lookahead=0.0, seed=1)[0]
    assert (alone[0] - together[1]).abs().max() < 0.01


def test_what_does_not_fit_is_told_before_the_first_step(nodes, solve, monkeypatch):
    shown = []
    monkeypatch.setattr(nodes.host, "follower", lambda steps: shown.append)
    large = nodes.operators.DegradeByBlur.execute("gaussian", 8.0, 0.0).args[0]
    with pytest.raises(ValueError, match="larger than the picture"):
        solve(large, smooth())
    assert not shown


def test_a_photo_of_which_all_is_lost_is_filled(nodes, solve):
    lost = nodes.operators.DegradeByMask.execute(0.0, 0, torch.ones(1, 48, 56)).args[0]
    for data_step in ("prox", "gradient"):
        assert solve(lost, smooth(), data_step=data_step)[0].isfinite().all()


def test_a_jpeg_is_bettered(nodes, solve):
    """Its last rows, too, though they fill no whole block of colour."""
    photo = to_tensor(TRIAL[0].clean)[..., 40:176, 40:168].movedim(1, -1)
    jpeg = nodes.operators.DegradeByJPEG.execute(10, "4:2:0").args[0]
    (degraded,) = nodes.degrade.ApplyDegradation.execute(jpeg, photo, 0).args
    restored, _, ratio = solve(jpeg, degraded, steps=20, lookahead=0.0)
    before, after = ((x - photo).square() for x in (degraded, restored))
    assert after.mean() < 0.9 * before.mean()
    assert after[:, 128:].mean() < before[:, 128:].mean()
    assert ratio < 1
    (again,) = nodes.degrade.ApplyDegradation.execute(jpeg, restored, 0).args
    assert ((again - degraded)[:, :128].abs() > 0.5 / 255).float().mean() < 0.02


def test_a_wrong_degradation_shows_in_the_ratio(nodes, degradations, solve):
    photo = smooth(height=64, width=64)
    (darker,) = nodes.degrade.ApplyDegradation.execute(degradations["jpeg"], 0.3 * photo, 0).args
    noise = nodes.operators.DegradeByNoise.execute(1.0).args[0]
    clip = nodes.operators.DegradeByClipping.execute(0.2).args[0]
    chain = nodes.operators.ChainDegradations.execute(clip, noise).args[0]
    assert solve(chain, photo)[2] > 5 > solve(noise, darker)[2]


def test_pictures_do_not_depend_on_their_batch(solve, degradations):
    photos = smooth(3)
    together = solve(degradations["pixels"], photos, seed=4)[0]
    assert torch.equal(solve(degradations["pixels"], photos, seed=4)[0], together)
    assert not torch.equal(solve(degradations["pixels"], photos, seed=5)[0], together)
    alone = solve(degradations["noise"], photos[2:], seed=6)[0]
    assert torch.allclose(solve(degradations["noise"], photos, seed=4)[0][2:], alone, atol=1e-5)


def test_alpha_is_carried_aside_and_enlarged(solve, denoise, degradations):
    photo = torch.cat([smooth(), torch.linspace(0, 1, 56).expand(1, 48, 56)[..., None]], -1)
    assert torch.equal(denoise(photo)[0][..., 3], photo[..., 3])
    restored = solve(degradations["down"], photo)[0]
    assert restored.shape == (1, 96, 112, 4)
    assert torch.allclose(restored[0, 0, :, 3], torch.linspace(0, 1, 112), atol=0.02)


def test_noise_is_removed_and_its_level_told(denoise):
    photo = smooth(height=96, width=96)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(2))
    noisy = (photo + 20 / 255 * noise).clamp(0, 1)
    estimated, level = denoise(noisy)
    given, told = denoise(noisy, noise_level=20.0)
    assert told == pytest.approx(20)
    assert level == pytest.approx(20, rel=0.1)
    before = (noisy - photo).square().mean()
    assert (given - photo).square().mean() < 0.1 * before
    assert (estimated - photo).square().mean() < 0.1 * before


def test_the_blend_mixes_the_ends(denoise):
    photo = smooth()
    ends = [denoise(photo, noise_level=30.0, lookahead=end)[0] for end in (0.0, 1.0)]
    mixed = denoise(photo, noise_level=30.0, lookahead=0.25, mode="blend")[0]
    assert torch.allclose(mixed, torch.lerp(*ends, 0.25), atol=1e-5)
    ahead = denoise(photo, noise_level=30.0, lookahead=0.25)[0]
    assert not torch.allclose(mixed, ahead, atol=1e-4)


def test_tiles_leave_no_seam(denoise):
    photo = smooth(height=256, width=320)
    whole = denoise(photo, noise_level=25.0)[0]
    tiled = denoise(photo, noise_level=25.0, tile=128)[0]
    assert (whole - tiled).abs().max() < 2 / 255


def test_progress_is_shown_for_every_step(nodes, solve, degradations, monkeypatch):
    shown = []

    class Bar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, done, total=None, preview=None):
            shown.append((done, self.total))

    monkeypatch.setattr(nodes.host.comfy.utils, "ProgressBar", Bar)
    solve(degradations["noise"], smooth(), steps=4)
    assert shown == [(i, 4) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda n: n.DegradeByBlur.execute("gaussian", 0.0, 0.0), "std of a Gaussian blur must be"),
        (lambda n: n.DegradeByBlur.execute("motion", 0.5, 0.0), "at least 1 pixel; got 0.5"),
        (
            lambda n: n.DegradeByBlur.execute("gaussian", 1, 0, kernel=torch.zeros(1, 3, 3, 3)),
            "black all over",
        ),
        (
            lambda n: n.DegradeByBlur.execute("gaussian", 1, 0, kernel=torch.rand(2, 3, 3, 3)),
            "one kernel; got a batch of 2",
        ),
        (lambda n: n.DegradeByDownscale.execute(1, "box"), r"must lie in 2\.\.16; got 1"),
        (lambda n: n.DegradeByMask.execute(0.0, 0), "Nothing is lost: wire a mask"),
        (lambda n: n.DegradeByMask.execute(0.5, 0, torch.zeros(1, 9, 9)), "nothing is painted"),
        (lambda n: n.DegradeByClipping.execute(0.0), "must be above 0; got 0"),
        (lambda n: n.DegradeByJPEG.execute(0, "4:2:0"), r"must lie in 1\.\.100; got 0"),
        (lambda n: n.DegradeByNoise.execute(-0.5), "must be at least 0"),
        (
            lambda n: n.ChainDegradations.execute(
                *[PRESETS["Blur, noise and JPEG (PMRF blind face)"]] * 2
            ),
            "known exactly; Blur, downscale, noise and JPEG draws its course anew",
        ),
    ],
)
def test_bad_degradations_are_one_sentence(nodes, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(nodes.operators)


def test_photos_that_do_not_fit_are_one_sentence(nodes, solve, degradations):
    with pytest.raises(ValueError, match="the mask is 56 x 48 and the picture 30 x 30"):
        solve(degradations["mask"], torch.rand(1, 30, 30, 3))
    with pytest.raises(ValueError, match="the kernel is 13 x 13 pixels, larger than the picture"):
        solve(nodes.operators.DegradeByBlur.execute("gaussian", 1.5, 0).args[0], smooth(1, 9, 40))
    with pytest.raises(ValueError, match="draws its course anew"):
        solve(PRESETS["Missing pixels 0.9 and noise 0.1 (PMRF inpainting)"], smooth())
    with pytest.raises(TypeError, match="needs a Degradation; got a str"):
        solve("blur", smooth())


def test_a_noise_of_no_known_level_is_estimated_but_not_added(nodes, solve):
    unknown = nodes.operators.DegradeByNoise.execute(-1.0).args[0]
    with pytest.raises(ValueError, match="can be estimated in a photo, but not added to one"):
        nodes.degrade.ApplyDegradation.execute(unknown, smooth(), 0)
    restored, residual, ratio = solve(unknown, smooth())
    assert restored.isfinite().all() and ratio > 0


def test_a_flow_from_a_posterior_mean_is_no_prior(nodes, weights, degradations, solve):
    pmrf = weights.load(weights.DEMO, "flow", "float32")
    with pytest.raises(ValueError, match="this node needs a flow map from noise"):
        nodes.flow_maps.FlowMapDenoise.execute(pmrf, smooth(), 25.0, 0.0, "lookahead")
    with pytest.raises(ValueError, match="this node needs a flow map from noise"):
        nodes.flow_maps.PlugAndPlay.execute(
            pmrf, degradations["noise"], smooth(), 0, 1, 0.5, 1, "prox"
        )


def test_a_flow_map_does_not_paint_over_a_photo(nodes, flow):
    with pytest.raises(ValueError, match="would paint over the photo"):
        nodes.restore.SampleImage.execute(flow, smooth(), 0, 2, -1.0, "euler")


def test_the_shipped_flow_map_says_what_it_is(flow):
    assert flow.times == "two-time"
    assert (flow.origin, flow.condition) == ("noise", "none")
    assert (flow.source_mean, flow.noise_std) == (0.5, 0.5)
