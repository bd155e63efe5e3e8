"""`run.py batch` on a real ComfyUI: on this machine, as if on another, and on one of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import comfyui
import environment
import numpy as np
import pytest
from PIL import Image

posix = pytest.mark.skipif(os.name != "posix", reason="Windows knows neither kill -9 nor these IPs")
GRAPH = {
    "1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"folder": "", "index": 0, "group": 1}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {
        "class_type": "RestoreFlowSaveRestoredPhoto",
        "inputs": {
            "image": ["2", 0], "photo": ["1", 2], "suffix": "_restored", "format": "as the source",
            "bits": "as the source", "quality": 0, "metadata": "keep", "colour": "source profile",
            "grey": "as it is", "embed_workflow": True, "sidecar": False, "replace": False,
        },
    },
}  # fmt: skip


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two good photos and a bad one, in a folder that nobody allowed."""
    make(tmp_path / "photos", ["a.png", "sub/b.png"])
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    return tmp_path / "photos"


def make(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 16), (number, 100, 200)).save(folder / name)


def command(photos: Path, *more: str) -> list[str]:
    root = photos.parent
    return [
        *(sys.executable, str(environment.SCRIPTS / "batch.py"), "--json", "-"),
        *("--workflow", str(root / "graph.json"), "--in", str(photos), "--out", str(root / "out")),
        *more,
    ]


def run(photos: Path, *more: str) -> dict:
    """The summary of a run that came to its end."""
    ran = subprocess.run(command(photos, *more), capture_output=True, text=True, timeout=300)
    assert ran.stdout, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["exit_code"] == ran.returncode, ran.stderr
    return summary


def results(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def check(photos: Path, summary: dict) -> None:
    """The good ones are inverted and in their places, the bad one has its reason."""
    out = photos.parent / "out"
    assert summary["exit_code"] == 1 and summary["state"] == "finished", summary
    assert summary["counts"] == {"done": 2, "failed": 1} and summary["outputs"] == 2
    assert results(out) == ["a_restored.png", "sub/b_restored.png"]
    (failure,) = summary["failures"]
    assert failure["path"] == "bad.jpg" and failure["error"]
    for name in ("a", "sub/b"):
        before, after = Image.open(photos / f"{name}.png"), Image.open(out / f"{name}_restored.png")
        assert (np.asarray(before) == 255 - np.asarray(after)).all()


def test_any_folders_of_this_machines_user(host, photos):
    check(photos, run(photos, "--server", host.url))
    again = run(photos, "--server", host.url)
    assert again["job"] == run(photos, "--server", host.url, "--retry-failed")["job"]
    check(photos, again)


def test_a_widget_is_set(host, photos):
    summary = run(photos, "--server", host.url, "--set", "3.suffix=_new", "--limit", "1")
    assert summary["exit_code"] == 0 and results(photos.parent / "out") == ["a_new.png"]


def test_a_file_of_the_canvas(host, photos):
    """Its graph goes into the results, as the canvas saves it."""
    file = photos.parent / "graph.json"
    saved = on_canvas()
    file.write_text(json.dumps(saved))
    check(photos, run(photos, "--server", host.url))
    kept = Image.open(photos.parent / "out" / "a_restored.png").text
    assert json.loads(kept["workflow"]) == saved
    assert json.loads(kept["prompt"])["2"]["class_type"] == "ImageInvert"


def on_canvas() -> dict:
    """The graph as a file of the canvas, with a bypassed node and a note in it."""
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 4, 0, "IMAGE"], [3, 4, 0, 3, 0, "IMAGE"],
             [4, 1, 2, 3, 1, "PHOTO"]]  # fmt: skip
    nodes = [
        {"id": 1, "type": "RestoreFlowJobPhoto", "widgets_values": ["", 0, 1]},
        {"id": 2, "type": "ImageInvert"},
        {"id": 3, "type": "RestoreFlowSaveRestoredPhoto", "widgets_values": ["_restored"]},
        {"id": 4, "type": "ImageScaleBy", "widgets_values": ["area", 0.5], "mode": 4},
        {"id": 5, "type": "Note", "widgets_values": ["read me"]},
    ]
    slots = {"IMAGE": "image", "PHOTO": "photo"}
    for node in nodes:
        into = [link for link in links if link[3] == node["id"]]
        node["inputs"] = [{"name": slots[k], "type": k, "link": n} for n, _, _, _, _, k in into]
        node["outputs"] = [{"type": kind} for kind in ("IMAGE", "MASK", "PHOTO")]
    return {"nodes": nodes, "links": links, "version": 0.4}


def test_without_the_token_those_folders_stay_closed(client, photos):
    order = {"graph": GRAPH, "source": str(photos), "target": str(photos.parent / "out")}
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.post("/restoreflow/jobs", json.dumps(order).encode())
    assert refused.value.code == 400 and "allow" in json.load(refused.value)["command"]


class OpenHost(comfyui.Host):
    """A ComfyUI that other machines reach, too."""

    def command(self) -> list:
        """As its own, but listening everywhere."""
        return ["0.0.0.0" if part == "127.0.0.1" else part for part in super().command()]


def own_address() -> str | None:
    """An address by which other machines know this one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


@posix
def test_a_server_elsewhere(host, photos, tmp_path):
    if (address := own_address()) is None:
        pytest.skip("this machine has no network")
    with OpenHost(host.installation, tmp_path / "elsewhere") as other:
        url = f"http://{address}:{other.port}"
        check(photos, run(photos, "--server", url))
        sent = results(other.folder / "input" / "restoreflow")
        assert [Path(path).name for path in sent] == ["a.png", "bad.jpg", "b.png"]
        check(photos, run(photos, "--server", url))
        assert results(other.folder / "input" / "restoreflow") == sent


@pytest.fixture
def own_home(host, tmp_path, monkeypatch) -> Path:
    """A home with no jobs in it, and the environment of the true one."""
    home = tmp_path / "home"
    home.mkdir()
    (home / environment.folder().name).symlink_to(environment.folder(), target_is_directory=True)
    monkeypatch.setenv("RESTOREFLOW_HOME", str(home))
    return home


@posix
def test_killed_and_started_again_it_goes_on(own_home, photos):
    names = [f"n{number}.png" for number in range(400)]  # enough to be met at work
    make(photos, names)
    out = photos.parent / "out"
    for number, stroke in enumerate((signal.SIGKILL, signal.SIGINT), 1):
        process = subprocess.Popen(
            command(photos), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        end = time.monotonic() + 120
        while len(results(out) if out.exists() else ()) < 8 * number:
            assert process.poll() is None and time.monotonic() < end, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, stroke) if stroke == signal.SIGINT else process.kill()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == (130 if stroke == signal.SIGINT else -9)
        if stroke == signal.SIGINT:
            assert json.loads(said)["exit_code"] == 130
        assert len(results(out)) < 402
    summary = run(photos)
    assert summary["job"] == 1 and summary["counts"] == {"done": 402, "failed": 1}
    wanted = ["a_restored.png", "sub/b_restored.png", *(f"n{n}_restored.png" for n in range(400))]
    assert results(out) == sorted(wanted)
