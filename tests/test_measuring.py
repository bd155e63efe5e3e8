"""The measurements on photographs: their controls, their claims, and what they compare."""

from dataclasses import replace

import measure_demo
import measure_latents
import pytest
import torch
from demo_photos import TRIAL
from measure_demo import Claim, collected, descending
from measure_latents import (
    CLEAN,
    COUNTS,
    FEW,
    LATENT_OF_MEAN,
    MEAN,
    MEAN_OF_LATENT,
    NOISY,
    ONE_DECODER,
    REBUILT,
    SEGMENTS,
    SIM_VAE,
    segment,
    steps_of,
)
from restoreflow.models.checkpoint import Checkpoint
from restoreflow.sampling import metrics


def scores_of(**measures: dict[str, float]) -> measure_demo.Scores:
    """Of one photo, each measure given by method."""
    methods = {method for values in measures.values() for method in values}
    return {
        method: {"photo": {m: values[method] for m, values in measures.items()}}
        for method in methods
    }


@pytest.fixture(scope="module")
def sections() -> measure_latents.Sections:
    """What the shipped weights make of one small photo."""
    photo = replace(TRIAL[1], side=64)
    ((clean, degraded),) = measure_demo.pairs([photo])
    with torch.inference_mode():
        return measure_latents.restore_photo(0, clean, degraded, measure_latents.load_parts())


def test_a_claim_shows_its_numbers_and_whether_they_bear_it_out():
    assert str(descending("it falls", 3.0, 2.0, 1.0)) == "- it falls: 3.00 > 2.00 > 1.00 holds"
    assert str(descending("it falls", 3, 1, 2)) == "- it falls: 3.00 > 1.00 <= 2.00 FAILS"
    assert not descending("equal", 1, 1).holds
    assert measure_demo.at_least("enough", 2, 2) == Claim("enough", (2.0,), True)
    assert not measure_demo.at_most("little", 3, 2).holds


def test_controls_have_the_lifelike_versions_error():
    clean = torch.rand(1, 3, 32, 32)
    mean, lifelike = (0.5 + (clean - 0.5) * factor for factor in (0.9, 0.7))
    for control in measure_demo.controls(3, clean, mean, lifelike).values():
        assert metrics.psnr(control, clean).item() == pytest.approx(
            metrics.psnr(lifelike, clean).item(), abs=0.01
        )


def test_results_are_rounded_as_saved_pictures_are():
    (image,) = collected([{"method": torch.full((1, 3, 2, 2), 0.5)}])["method"]
    assert torch.equal(image, torch.full((1, 3, 2, 2), 128 / 255))


def test_a_table_without_grey_photos_has_no_tint():
    scores = scores_of(**{name: {"mean": 1.0} for name in ("psnr", "ssim", "fine", "w2", "tint")})
    assert measure_demo.table(scores, []).endswith("| nan |")
    assert measure_demo.table(scores, ["photo"]).endswith("| 1.00 |")


def test_one_part_of_a_file_stands_in_for_another():
    tensors = {"fmir.a": torch.zeros(1), "fmir.b": torch.zeros(1), "plain.a": torch.ones(2)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    original = Checkpoint("file", shapes, {"flow": {}}, tensors=tensors)
    view = measure_latents.standing_in(original, "plain.", "fmir.")
    assert view.part_shapes("fmir.") == {"a": (2,)} and view.config == {"flow": {}}
    assert torch.equal(view.part("fmir.")["a"], torch.ones(2))


def test_the_plain_flow_and_the_teacher_are_others_of_the_same_size():
    parts = measure_latents.load_parts()
    for one, other in ((parts.consistency, parts.plain), (parts.elir_vae, parts.teacher)):
        a, b = (part.network.state_dict() for part in (one, other))
        assert {name: t.shape for name, t in a.items()} == {name: t.shape for name, t in b.items()}
        assert any(not torch.equal(a[name], b[name]) for name in a)
        assert other.dtype == torch.float32


def test_every_section_measures_the_photo_and_its_methods(sections):
    assert list(sections) == list(measure_latents.CLAIMS)
    assert all(section in sections and method in sections[section]
               for section, method in measure_latents.COLUMNS)  # fmt: skip
    for methods in sections.values():
        assert {image.shape for image in methods.values()} == {(1, 3, 64, 64)}
        assert all(image.min() >= 0 and image.max() <= 1 for image in methods.values())
        assert torch.equal(methods[CLEAN], sections[SIM_VAE][CLEAN])


def test_the_last_segment_is_the_flows_end(sections):
    end = sections[SEGMENTS][segment(FEW)]
    torch.testing.assert_close(end, sections[COUNTS][steps_of("consistency", FEW)])
    torch.testing.assert_close(end, sections[ONE_DECODER][measure_latents.FROM_B])
    mean = sections[SEGMENTS][MEAN_OF_LATENT]
    assert torch.equal(mean, sections[ONE_DECODER][MEAN_OF_LATENT])
    assert not torch.equal(mean, sections[SEGMENTS][NOISY])


def test_every_claim_can_be_said_of_what_is_measured(sections, tmp_path):
    photos = [replace(TRIAL[1], side=64)]
    for section, claims in measure_latents.CLAIMS.items():
        results = collected([sections[section]])
        said = claims(results, measure_demo.score_set(results, photos))
        assert len({claim.what for claim in said}) == len(said)


def test_the_error_allowed_is_that_of_mean_and_autoencoder_together():
    clean = torch.full((1, 3, 4, 4), 0.5)
    results = {CLEAN: [clean], MEAN: [clean + 0.06], REBUILT: [clean - 0.08]}
    assert measure_latents.allowed(results) == pytest.approx(20, abs=1e-4)  # 0.06^2 + 0.08^2
    for shift, holds in ((0.07, [True, True]), (0.15, [False, False])):
        results[LATENT_OF_MEAN] = [clean + shift]
        psnr = metrics.psnr(clean + shift, clean).item()
        scores = scores_of(psnr={LATENT_OF_MEAN: psnr})
        claims = measure_latents.latent_of_mean_claims(results, scores)
        assert [claim.holds for claim in claims] == holds


def test_what_the_paper_shows_of_the_segments_bears_out_its_claims():
    states = [NOISY, *(segment(i + 1) for i in range(FEW))]
    table3 = {
        "psnr": [26.20, 26.25, 25.85, 25.63, 25.56, 25.55],
        "w2": [78.91, 63.19, 55.66, 46.36, 40.21, 39.75],  # there, FID
    }
    mean = {"psnr": 26.43, "w2": 72.57}
    measures = {m: {MEAN_OF_LATENT: mean[m], **dict(zip(states, table3[m], strict=True))}
                for m in mean}  # fmt: skip
    assert all(claim.holds for claim in measure_latents.segment_claims({}, scores_of(**measures)))
    measures["psnr"][segment(2)] = 27.0
    failing = [c.what for c in measure_latents.segment_claims({}, scores_of(**measures))
               if not c.holds]  # fmt: skip
    assert failing == ["PSNR is highest after the mean", "PSNR falls with every segment"]


def test_the_plot_shows_both_flows_twice():
    names = [steps_of(kind, k) for kind in ("consistency", "plain") for k in measure_latents.STEPS]
    scores = scores_of(**{m: dict.fromkeys(names, 1.0) for m in ("psnr", "w2")})
    figure = measure_latents.plot(scores)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
