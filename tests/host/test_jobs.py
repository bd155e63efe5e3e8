"""Photo jobs in a real host: from folder to folder, through kills, beside the user's prompts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import environment
import numpy as np
import pytest
from client import Client, PromptError
from job_trials import (
    Jobs,
    contents,
    fill,
    graph,
    hosted,
    killed,
    settled,
    spoil,
    wait_for,
    watched,
)
from PIL import Image

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of this module's own host."""
    if Path(sys.prefix) != environment.python().parents[1]:
        pytest.skip("a real ComfyUI is started by `run.py test` only")
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def jobs(place):
    with hosted(place) as running:
        yield running


def test_five_hundred_photos(jobs, place):
    fill(place / "input" / "many", 500)
    number = jobs.start(graph(), place / "input" / "many", place / "output" / "many")
    with watched(jobs, number) as watch:
        job = jobs.wait(number)
    assert job["counts"] == {"done": 500} and job["state"] == "finished"
    made = contents(place / "output" / "many")
    assert len(made) == 500 and "004/photo 499_restored.jpg" in made
    assert watch.most_queued <= 2
    assert jobs.client.json("/history") == {}, "the jobs' prompts stay in the host's history"


def test_exif_name_and_tree_come_back(jobs, place):
    with Image.open(place / "output" / "many" / "001" / "photo 123_restored.jpg") as result:
        assert result.getexif()[0x010E] == "photo 123"
        with Image.open(place / "input" / "many" / "001" / "photo 123.jpg") as source:
            there, back = (np.asarray(image).astype(int) for image in (source, result))
    assert np.abs(255 - there - back).mean() < 2


def test_the_same_again_is_skipped(jobs, place):
    number = jobs.start(graph(), place / "input" / "many", place / "output" / "many")
    assert jobs.wait(number)["counts"] == {"skipped": 500}


def test_a_prompt_of_another_gets_no_photo_by_its_number(jobs, place):
    source = place / "input" / "forged"
    fill(source, 20)
    number = jobs.start(graph(0.1), source, place / "output" / "forged")
    photo = wait_for(lambda: list(jobs.photos(number, "done")))[0]
    rows = json.dumps([photo["id"]])
    for asker in ("", str(number), f"{number}:0"):
        forged = graph()
        forged["1"]["inputs"] |= {"job": asker, "rows": rows}
        forged["3"]["inputs"] |= {"suffix": "_foreign", "replace": True}
        with pytest.raises(PromptError, match="Only a running job"):
            jobs.client.run(forged)
    assert jobs.wait(number)["counts"] == {"done": 20}
    assert not any("_foreign" in path for path in contents(place / "output" / "forged"))


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_nothing_follows_a_link_that_the_output_folder_became(jobs, place):
    source, target, outside = place / "input" / "led", place / "output" / "led", place / "outside"
    fill(source, 12)
    outside.mkdir()
    number = jobs.start(graph(0.1), source, target)
    wait_for(lambda: settled(jobs.job(number)) >= 3)
    target.rename(place / "kept")
    target.symlink_to(outside)
    job = jobs.wait(number)
    assert job["state"] == "paused" and "leads elsewhere by a link" in job["reason"]
    assert contents(outside) == {} and "failed" not in job["counts"]
    target.unlink()
    (place / "kept").rename(target)
    jobs.post(f"/jobs/{number}/resume")
    assert jobs.wait(number)["counts"] == {"done": 12}


def test_groups_share_a_prompt(jobs, place):
    source = place / "input" / "grouped"
    fill(source / "a", 6)
    fill(source / "b", 3, side=48)
    (source / "a" / "bad.jpg").write_bytes(b"bad")
    number = jobs.start(graph(group=4), source, place / "output" / "grouped")
    assert jobs.wait(number)["counts"] == {"done": 9, "failed": 1}
    alone = jobs.start(graph(), source, place / "output" / "alone")
    jobs.wait(alone)
    pixels = [
        {path: np.asarray(Image.open(place / "output" / name / path)) for path in made}
        for name in ("grouped", "alone")
        if (made := contents(place / "output" / name))
    ]
    assert pixels[0].keys() == pixels[1].keys()
    assert all(np.array_equal(pixels[0][path], pixels[1][path]) for path in pixels[0])


def test_two_jobs_and_the_users_own_prompts(jobs, place):
    source = place / "input" / "grouped" / "a"
    made = demo_graph(jobs.client)
    numbers = [jobs.start(made, source, place / "output" / name) for name in ("one", "two")]
    own = [jobs.client.run(users_prompt(turn)) for turn in range(4)]
    assert all(entry["status"]["status_str"] == "success" for entry in own)
    for number in numbers:
        assert jobs.wait(number)["counts"] == {"done": 6, "failed": 1}
    log = jobs.host.log.read_text(errors="replace")
    assert log.count("reading demo-denoise-25.safetensors") == 2, "each part is read once"


def demo_graph(client: Client) -> dict:
    """The job's graph around the demo's networks."""
    made = graph()
    del made["2"]
    mean = {"weights": "demo-denoise-25.safetensors", "precision": "auto"}
    flow = {"seed": 0, "steps": 2, "source_noise": -1.0, "solver": "euler"}
    made["4"] = {"class_type": "RestoreFlowLoadPosteriorMean", "inputs": mean}
    made["5"] = {"class_type": "RestoreFlowLoadFlow", "inputs": dict(mean)}
    one = {"posterior_mean": ["4", 0], "image": ["1", 0]}
    made["6"] = {"class_type": "RestoreFlowPosteriorMean", "inputs": one}
    other = {"flow": ["5", 0], "image": ["6", 0], **flow}
    made["2"] = {"class_type": "RestoreFlowSampleImage", "inputs": other}
    return made


def users_prompt(turn: int) -> dict:
    """A prompt of the user's own that is different each time."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8 + turn, "height": 8,
              "batch_size": 1, "color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }  # fmt: skip


def test_a_missing_model_stops_the_job_at_once(jobs, place):
    made = demo_graph(jobs.client)
    made["5"]["inputs"]["weights"] = "nowhere.safetensors"
    number = jobs.start(made, place / "input" / "grouped", place / "output" / "none")
    job = jobs.wait(number)
    assert job["state"] == "stopped" and "nowhere.safetensors" in job["reason"]
    assert "failed" not in job["counts"]


def test_pause_resume_and_cancel(jobs, place):
    number = jobs.start(graph(0.1), place / "input" / "many", place / "output" / "slow")
    wait_for(lambda: settled(jobs.job(number)) >= 3)
    jobs.post(f"/jobs/{number}/pause")
    job = wait_for(lambda: (j := jobs.job(number))["counts"].get("queued", 0) == 0 and j)
    assert job["state"] == "paused" and job["left"] > 0
    jobs.post(f"/jobs/{number}/resume")
    wait_for(lambda: settled(jobs.job(number)) > settled(job))
    jobs.post(f"/jobs/{number}/cancel")
    assert jobs.wait(number)["state"] == "cancelled"
    wait_for(lambda: jobs.client.json("/queue") == {"queue_running": [], "queue_pending": []})


def test_an_interrupt_by_hand_pauses_the_job(jobs, place):
    number = jobs.start(graph(0.3), place / "input" / "many", place / "output" / "slow")
    wait_for(lambda: jobs.client.json("/queue")["queue_running"])
    jobs.client.post("/interrupt", b"{}")
    job = jobs.wait(number)
    assert job["state"] == "paused" and "queue" in job["reason"]
    jobs.post(f"/jobs/{number}/delete")


def test_three_kills(tmp_path, place):
    source = tmp_path / "input" / "some"
    fill(source, 57)
    bad = spoil(source, 3)
    made = graph(0.05)
    with killed(tmp_path, source, tmp_path / "output" / "killed", made, kills=3) as last:
        number = last.only()["id"]
        done = list(last.photos(number, "done"))
        failed = {photo["path"]: photo["error"] for photo in last.photos(number, "failed")}
        last.wait(last.start(made, source, tmp_path / "output" / "calm"))
    found = contents(tmp_path / "output" / "killed")
    assert found == contents(tmp_path / "output" / "calm") and len(found) == len(done) == 57
    assert set(failed) == bad and all(failed.values())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_pauses_the_job(jobs, place):
    small = place / "output" / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", small]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        number = jobs.start(graph(), place / "input" / "many", small)
        job = jobs.wait(number)
        assert job["state"] == "paused" and "no room" in job["reason"], str(job["counts"])
        made = set(contents(small))
        assert made and not any(path.endswith("-part") for path in made)
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        jobs.post(f"/jobs/{number}/resume")
        assert jobs.wait(number)["counts"] == {"done": 500}
        assert len(contents(small)) == 500
    finally:
        subprocess.run(["umount", small], check=True)


def test_jobs_are_there_after_a_restart(place, tmp_path):
    fill(tmp_path / "input" / "a", 30)
    with hosted(tmp_path) as first:
        number = first.start(graph(0.2), tmp_path / "input" / "a", tmp_path / "output" / "a")
        wait_for(lambda: settled(first.job(number)) >= 2)
    with hosted(tmp_path) as second:
        job = second.job(number)
        assert job["state"] == "interrupted" and "host ended" in job["reason"]
        assert Jobs.job(second, number)["left"] > 0
        second.post(f"/jobs/{number}/resume")
        assert second.wait(number)["counts"] == {"done": 30}
