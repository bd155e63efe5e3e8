"""Measures in the ledger of the job that asked: entered for its own photos, and for no others."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.photos import PhotoError
from restoreflow.jobs.progress import measures as measured
from restoreflow.jobs.report import csv_report
from restoreflow.jobs.rows import Settings
from restoreflow.jobs.scan import Found

GRAPH = {
    "1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"folder": "", "index": 0, "group": 2}},
    "2": {"class_type": "RestoreFlowSaveRestoredPhoto",
          "inputs": {"image": ["1", 0], "photo": ["1", 2]}},
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "jobs.sqlite")
    job = ledger.create("x", GRAPH, Path(tmp_path), Path(tmp_path), Settings())
    ledger.merge(job.id, ledger.begin_scan(job.id), [Found("a.jpg", 1, 1), Found("b.jpg", 1, 1)])
    return ledger


@pytest.fixture
def photo(nodes, host, ledger, monkeypatch):
    """The wire PHOTO of both photos of a job that runs."""
    rows = [one.id for one in ledger.waiting(1, 2)]
    flights = SimpleNamespace(are_for=lambda asker, photos: asker == "own" and photos[0] in rows)
    engine = SimpleNamespace(flights=flights, ledger=ledger)
    monkeypatch.setattr(nodes.jobs, "engine", lambda: engine)
    carried = nodes.photo_files.Carried
    own = {"sha256": "0", "asker": "own"}
    return tuple(carried(f"{row}.jpg", None, None, row=row, **own) for row in rows)


def image(count):
    return 0.4 * torch.rand(count, 24, 24, 3)


def test_the_numbers_of_each_photo(nodes, photo, ledger):
    truth = image(2)
    wrong = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    nodes.judge.CompareToReference.execute(wrong, truth, False, photo=photo, label=" mine ")
    found = [measured(ledger, one.row) for one in photo]
    assert [set(one) for one in found] == [{"mine psnr", "mine ssim", "mine texture"}] * 2
    assert [one["mine psnr"] for one in found] == pytest.approx([20, 40], abs=1e-2)
    nodes.judge.JudgeWithoutReference.execute(wrong, posterior_mean=truth, photo=photo)
    assert measured(ledger, photo[0].row)["indrmse"] == pytest.approx(25.5, abs=1e-3)


def test_they_are_columns_of_the_table(nodes, photo, ledger):
    truth = image(2)
    nodes.judge.CompareToReference.execute(truth + 0.1, truth, False, photo=photo)
    head, first, *_ = b"".join(csv_report(ledger, ledger.job(1))).decode("utf-8-sig").splitlines()
    value = dict(zip(head.split(","), first.split(","), strict=True))["psnr"]
    assert float(value) == pytest.approx(20, abs=1e-3)


def test_what_is_no_number_is_unknown(nodes, photo, ledger):
    truth = image(2)
    nodes.judge.CompareToReference.execute(truth, truth, False, photo=photo)
    assert measured(ledger, photo[0].row)["psnr"] is None
    nodes.measures.record(photo, 0, "x", math.nan)
    assert measured(ledger, photo[0].row)["x"] is None


def test_only_a_jobs_own_prompt_is_believed(nodes, photo, ledger):
    from dataclasses import replace

    forged = tuple(replace(one, asker="other") for one in photo)
    with pytest.raises(PhotoError, match="Only a running job"):
        nodes.measures.record(forged, 0, "psnr", 99.0)
    assert measured(ledger, photo[0].row) == {}


def test_a_photo_without_a_job_enters_nothing(nodes, host, monkeypatch):
    monkeypatch.setattr(nodes.jobs, "engine", lambda: pytest.fail("no job asked"))
    alone = (nodes.photo_files.Carried("a.jpg", None, None, sha256="0"),)
    truth = image(3)
    nodes.judge.CompareToReference.execute(truth, truth, False, photo=alone)
    nodes.judge.CompareToReference.execute(truth, truth, False)


def test_pictures_and_photos_must_be_as_many(nodes, photo, ledger):
    with pytest.raises(ValueError, match="3 pictures were measured for 2 photos"):
        nodes.judge.CompareToReference.execute(image(3), image(3), False, photo=photo)
    with pytest.raises(TypeError, match="needs a tuple"):
        nodes.judge.CompareToReference.execute(image(2), image(2), False, photo="a.jpg")
