"""The demo: its numbers, its sheet, and one photo through the real host."""

import re
import sys
from dataclasses import replace

import comfyui
import demo
import numpy as np
import pytest
from demo_photos import TRIAL
from PIL import Image
from restoreflow.sampling.presets import preset
from setup_step import SetupError

CAT = next(photo for photo in TRIAL if photo.name == "cat")


def flat(level: int, side: int = demo.SIDE) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def flat_ssim(a: float, b: float) -> float:
    """Of two pictures without structure: the comparison of their means alone."""
    a, b = a / 255, b / 255
    return (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)


@pytest.fixture
def restoration() -> demo.Restoration:
    """Off by 20, 5 and 10 levels."""
    photo = demo.at_sheet_size(CAT)
    return demo.Restoration(photo, flat(100), flat(120), flat(105), flat(110), 1.5)


def test_scores_are_those_of_known_pairs(restoration):
    expected = [(20 * np.log10(255 / d), flat_ssim(100, 100 + d)) for d in (20, 5, 10)]
    np.testing.assert_allclose(restoration.scores, expected, rtol=1e-4)


def test_the_table_shows_every_score_and_their_averages(restoration):
    worse = replace(restoration, mean=flat(110), seconds=2.5)
    lines = demo.table([restoration, worse]).splitlines()
    numbers = [[float(x) for x in re.findall(r"[\d.]+", line)] for line in lines[-3:]]
    flattened = [*sum(map(tuple, restoration.scores), ()), 1.5]
    np.testing.assert_allclose(numbers[0], flattened, atol=6e-3)
    np.testing.assert_allclose(numbers[2], np.mean(numbers[:2], axis=0), atol=1.1e-2)
    assert [line.split()[0] for line in lines[-3:]] == ["cat", "cat", "average"]


def test_every_detail_of_the_sheet_lies_in_its_photo():
    for photo in map(demo.at_sheet_size, TRIAL):
        assert all(0 <= corner <= demo.SIDE - demo.DETAIL for corner in photo.detail)
        assert photo.clean.shape == (demo.SIDE, demo.SIDE, 3)


def test_every_panel_shows_its_picture_and_its_detail():
    rng = np.random.default_rng(0)
    photo, side = demo.at_sheet_size(CAT), demo.SIDE
    pictures = rng.integers(0, 256, (2, 4, side, side, 3), np.uint8)
    sheet = demo.sheet([demo.Restoration(photo, *row, 1.0) for row in pictures], 0.5)
    right, bottom = demo.place(1, 3)
    assert sheet.width == right + 2 * side + demo.SEAM + demo.MARGIN
    assert sheet.height > bottom + side + demo.CAPTION
    left, top = photo.detail
    inside = np.s_[top + 2 : top + demo.DETAIL - 2, left + 2 : left + demo.DETAIL - 2]
    for row, column in np.ndindex(2, 4):
        x, y = demo.place(row, column)
        shown = np.asarray(sheet.crop((x, y, x + side, y + side)))
        different = (shown != pictures[row, column]).any(-1)
        assert not different[inside].any()
        assert different.sum() <= (4 * 2 * demo.DETAIL if column == 0 else 0)  # the frame
        x += side + demo.SEAM
        zoomed = sheet.crop((x, y, x + side, y + side))
        back = zoomed.resize((demo.DETAIL, demo.DETAIL), Image.Resampling.BOX)
        true = pictures[row, column][top : top + demo.DETAIL, left : left + demo.DETAIL]
        assert np.corrcoef(np.asarray(back).ravel(), true.ravel())[0, 1] > 0.9


def test_a_template_without_a_needed_node_is_one_sentence():
    with pytest.raises(demo.WorkflowError, match="must hold one LoadImage, not 0"):
        demo.node_of({"1": {"class_type": "SaveImage"}}, "LoadImage")


def test_a_failure_is_one_sentence(monkeypatch, tmp_path):
    def fail():
        raise SetupError("it cannot be")

    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(comfyui, "find", fail)
    with pytest.raises(SystemExit, match="^demo: it cannot be$"):
        demo.main([])


@pytest.mark.parametrize(
    ("arguments", "workflows", "measured"),
    [([], [demo.IN_PIXELS], 0), (["--all"], [demo.IN_PIXELS, *demo.IN_LATENTS], 1)],
)
def test_all_adds_the_latent_workflows_and_the_measurements(
    monkeypatch, tmp_path, capsys, restoration, arguments, workflows, measured
):
    folder = tmp_path / "demo"
    folder.mkdir()
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path))
    measurements = []
    monkeypatch.setattr(demo, "measure", measurements.append)
    monkeypatch.setattr(
        demo, "restore_all", lambda folder, asked: [demo.Run(w, [restoration], 0.5) for w in asked]
    )
    demo.main(arguments)
    told = capsys.readouterr().out
    every = (demo.IN_PIXELS, *demo.IN_LATENTS)
    assert [workflow for workflow in every if workflow.title in told] == workflows
    assert measurements == [folder] * measured
    assert (folder / "before_after.png").is_file()


@pytest.mark.parametrize(
    "workflow", [demo.IN_PIXELS, *demo.IN_LATENTS], ids=lambda workflow: workflow.name
)
def test_a_photo_goes_through_the_real_host(client, capsys, monkeypatch, workflow):
    photo = replace(CAT, side=64)
    prompt = demo.template(client, workflow)
    result = demo.restore(client, prompt, photo, 3, "cat")
    noisy = preset("Noise 25/255 (demo)").simulate(demo.to_tensor(result.clean), 3)
    np.testing.assert_array_equal(result.degraded, (noisy[0].movedim(0, -1) * 255).round())
    assert {picture.shape for picture in result.stages} == {(64, 64, 3)}
    assert not np.array_equal(result.mean, result.restored)
    assert not np.array_equal(result.mean, result.degraded)
    assert re.fullmatch(r"cat +[\d.]+ s\n", capsys.readouterr().out)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    again = demo.restore(client, prompt, photo, 3, "cat")
    np.testing.assert_array_equal(again.restored, result.restored)
    assert re.fullmatch(r"cat(\rcat +[\d.]+ s)+\n", capsys.readouterr().out)
