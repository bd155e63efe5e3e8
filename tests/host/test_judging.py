"""Judging in a real host: the whole of it in one graph, and numbers in a job's reports."""

import csv
import io
import sys

import environment
import numpy as np
import pytest
from job_trials import fill, graph, hosted
from PIL import Image
from workflow_parts import DEMO

COURSE = {"seed": 3, "steps": 2, "source_noise": -1.0, "solver": "euler"}
LOADED = {"weights": DEMO, "precision": "auto", "ema": True}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    if environment.python().parents[1].as_posix() != sys.prefix:
        pytest.skip("a real ComfyUI is started by `run.py test` only")
    with hosted(tmp_path_factory.mktemp("judging")) as running:
        yield running


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def restoration(photo: list) -> dict[str, dict]:
    """A photo, degraded and restored by the demo's networks."""
    return {
        "degradation": node("RestoreFlowLoadDegradation", preset="Noise 25/255 (demo)"),
        "noisy": node(
            "RestoreFlowApplyDegradation", degradation=["degradation", 0], image=photo, seed=1
        ),
        "estimator": node("RestoreFlowLoadPosteriorMean", **LOADED),
        "flow": node("RestoreFlowLoadFlow", **LOADED),
        "mean": node(
            "RestoreFlowPosteriorMean", posterior_mean=["estimator", 0], image=["noisy", 0]
        ),
        "sample": node("RestoreFlowSampleImage", flow=["flow", 0], image=["mean", 0], **COURSE),
    }


def judged(truth: list, **more) -> dict[str, dict]:
    return {
        "compare": node(
            "RestoreFlowCompareToReference",
            **{"image": ["sample", 0], "reference": truth, "lpips": False, **more},
        ),
        "judge": node(
            "RestoreFlowJudgeWithoutReference",
            **{"image": ["sample", 0], "posterior_mean": ["mean", 0], "degraded": ["noisy", 0]},
            **{"degradation": ["degradation", 0], **more},
        ),
        "map": node(
            "RestoreFlowMapUncertainty",
            **{"flow": ["flow", 0], "image": ["mean", 0], "draws": 3, "scale": 0.0, "keep": 3},
            **COURSE,
            **more,
        ),
    }


def test_the_whole_in_one_graph(jobs, tmp_path):
    pixels = np.random.default_rng(0).integers(60, 190, (12, 16, 3), np.uint8)
    file = tmp_path / "clean.png"
    Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(file)
    photo = ["photo", 0]
    made = {
        "photo": node("LoadImage", image=jobs.client.upload(file)),
        **restoration(photo),
        **judged(photo),
        "sweep": node(
            "RestoreFlowSweepTradeOff",
            **{"faithful": ["mean", 0], "lifelike": ["sample", 0], "realisms": "0, 0.5, 1"},
        ),
        "plot": node(
            "RestoreFlowPlotTradeOff", points=["sweep", 0], realisms=["sweep", 2], reference=photo
        ),
        "pick": node(
            "RestoreFlowPickSample",
            **{"samples": ["map", 4], "rule": "nearest the posterior mean", "index": 0},
            posterior_mean=["mean", 0],
        ),
        "picked": node("PreviewImage", images=["pick", 0]),
        "sheet": node("PreviewImage", images=["pick", 2]),
        "drawn": node("PreviewImage", images=["plot", 0]),
        "heat": node("PreviewImage", images=["map", 0]),
        "grey": node("PreviewImage", images=["map", 1]),
    }
    entry = jobs.client.run(made)
    (text,) = entry["outputs"]["compare"]["text"]
    assert text.startswith("picture 1: PSNR ") and "texture" in text
    (text,) = entry["outputs"]["judge"]["text"]
    assert "IndRMSE" in text and "x noise" in text
    sizes = {
        key: Image.open(io.BytesIO(*jobs.client.pictures(entry, key))).size
        for key in ("picked", "sheet", "drawn", "heat", "grey")
    }
    assert sizes["picked"] == sizes["grey"] == (96, 72) and sizes["drawn"] == (1200, 900)
    assert sizes["heat"][0] == 96 and sizes["heat"][1] > 72 and sizes["sheet"][0] > 96


def test_a_jobs_reports_hold_the_numbers(jobs):
    source, target = (jobs.host.folder / kind / "judged" for kind in ("input", "output"))
    fill(source, 3)
    made = graph(group=3)
    photo = ["1", 0]
    made |= {**restoration(photo), **judged(photo, photo=["1", 2], label="full")}
    made["3"]["inputs"]["image"] = ["sample", 0]
    del made["2"]
    number = jobs.start(made, source, target)
    job = jobs.wait(number)
    assert job["counts"] == {"done": 3}, job["reason"]
    table = jobs.client.get(f"/restoreflow/jobs/{number}/report.csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table)))
    names = ("psnr", "ssim", "texture", "indrmse", "residual", "residual ratio", "spread")
    for row in rows:
        assert 20 < float(row["full psnr"]) < 50 and 0.5 < float(row["full residual ratio"]) < 1.5
        assert all(float(row[f"full {name}"]) > 0 for name in names)
    assert len({row["full psnr"] for row in rows}) == 3
    sheet = jobs.client.get(f"/restoreflow/jobs/{number}/report.html").decode()
    assert all(f"full {name}" in sheet for name in names)
