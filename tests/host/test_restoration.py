"""The shipped template on a real ComfyUI: posted over its API, compared with the direct call."""

import io
import json
import os
import shutil
import time
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from client import PromptError
from PIL import Image
from restoreflow.jobs.workflow import to_prompt
from restoreflow.models import registry
from restoreflow.sampling.noise import gaussian
from restoreflow.sampling.restore import posterior_mean, sample
from restoreflow.sampling.trade_off import trade_off

ROOT = Path(__file__).parent.parent.parent
TEMPLATE = ROOT / "workflows" / "restore_noisy_photo.json"
WEIGHTS = ROOT / "models" / "embedded" / "demo-denoise-25.safetensors"


@pytest.fixture(scope="session")
def photo(client, tmp_path_factory) -> tuple[str, torch.Tensor]:
    """A small noisy photo in the host's input folder: its name, and [1, 3, H, W] in [0, 1]."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 90)[:, None, None] + np.linspace(0, 40, 70)[None, :, None]
    pixels = np.clip(ramp + rng.normal(0, 25, (90, 70, 3)), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "noisy.png"
    Image.fromarray(pixels).save(path)
    return client.upload(path), torch.from_numpy(pixels).movedim(-1, 0)[None] / 255


@pytest.fixture
def prompt(client, photo) -> dict:
    """The template's graph in API form, on that photo, without its preview of the posterior mean:
    the host runs the sound outputs of a graph and drops the others."""
    graph = to_prompt(json.loads(TEMPLATE.read_text()), client.json("/object_info"))
    node(graph, "LoadImage")["inputs"]["image"] = photo[0]
    return {key: node for key, node in graph.items() if node["class_type"] != "PreviewImage"}


def node(graph: dict, kind: str) -> dict:
    return next(node for node in graph.values() if node["class_type"] == kind)


def saved(client, graph: dict) -> np.ndarray:
    """Runs a graph; its saved picture, [H, W, 3] of 0..255."""
    entry = client.run(graph)
    number = next(key for key, node in graph.items() if node["class_type"] == "SaveImage")
    (picture,) = client.pictures(entry, number)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_the_template_gives_what_the_direct_call_gives(client, prompt, photo):
    settings = node(prompt, "RestoreFlowSampleImage")["inputs"]
    realism = node(prompt, "RestoreFlowTradeOff")["inputs"]["realism"]
    mean_part, flow = (
        registry.load(WEIGHTS, role) for role in (registry.POSTERIOR_MEAN, registry.FLOW)
    )
    for part in (mean_part, flow):
        part.cast(torch.float32)
    with torch.inference_mode():
        mean = posterior_mean(mean_part, photo[1])
        noise = gaussian(mean.shape[1:], settings["seed"], [0])
        lifelike = sample(flow, mean, noise, steps=settings["steps"])
        expected = trade_off(mean, lifelike, realism)[0].movedim(0, -1)
    difference = saved(client, prompt) - (expected * 255).int().numpy()
    assert np.abs(difference).max() <= 1  # a level, where the last bit of a float decides
    assert (difference != 0).mean() < 1e-3


def test_bad_settings_are_refused_before_anything_runs(client, prompt):
    for name, value in [("steps", -1), ("steps", 1001), ("source_noise", -2)]:
        settings = node(prompt, "RestoreFlowSampleImage")["inputs"]
        wrong = {**prompt, **{k: {**v, "inputs": {**settings, name: value}}
                              for k, v in prompt.items() if v["inputs"] is settings}}  # fmt: skip
        with pytest.raises(PromptError, match=name):
            client.submit(wrong)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("RestoreFlowSampleImage", "solver"), ("RestoreFlowLoadFlow", "precision")],
)
def test_an_unknown_choice_is_one_sentence(client, prompt, kind, name):
    node(prompt, kind)["inputs"][name] = "rk9"
    with pytest.raises(PromptError, match=r"must be one of .*; got rk9\."):
        client.run(prompt)


def test_a_missing_file_is_refused_with_what_to_do(client, prompt):
    node(prompt, "RestoreFlowLoadFlow")["inputs"]["weights"] = "gone.safetensors"
    with pytest.raises(PromptError, match="put it into models/restoreflow"):
        client.submit(prompt)


def test_a_wrong_wire_is_refused(client, prompt):
    flow = node(prompt, "RestoreFlowSampleImage")["inputs"]["flow"]
    node(prompt, "RestoreFlowPosteriorMean")["inputs"]["posterior_mean"] = flow
    with pytest.raises(PromptError, match="FLOW"):
        client.submit(prompt)


def test_a_file_made_on_windows_loads(client, host, prompt):
    folder = host.folder / "models" / "restoreflow" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(WEIGHTS, folder / "weights.safetensors")
    node(prompt, "RestoreFlowLoadFlow")["inputs"]["weights"] = "sub\\weights.safetensors"
    node(prompt, "RestoreFlowSampleImage")["inputs"]["steps"] = 1
    assert saved(client, prompt).shape == (90, 70, 3)


def test_a_file_that_arrives_later_is_offered(client, host):
    folder = host.folder / "models" / "restoreflow"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(WEIGHTS, folder / "later.safetensors")
    described = client.json("/object_info/RestoreFlowLoadFlow")["RestoreFlowLoadFlow"]
    offered = described["input"]["required"]["weights"][1]["options"]
    assert offered[0] == WEIGHTS.name
    assert "later.safetensors" in offered


def test_two_graphs_alternate_and_each_file_is_read_once(client, host, prompt):
    folder = host.folder / "models" / "restoreflow"
    folder.mkdir(parents=True, exist_ok=True)
    graphs = []
    for name in ("one.safetensors", "two.safetensors"):
        shutil.copy(WEIGHTS, folder / name)
        graph = json.loads(json.dumps(prompt))
        node(graph, "RestoreFlowSampleImage")["inputs"]["steps"] = 1
        for kind in ("RestoreFlowLoadFlow", "RestoreFlowLoadPosteriorMean"):
            node(graph, kind)["inputs"]["weights"] = name
        graphs.append((graph, saved(client, graph), folder / name))
    for *_, path in graphs:  # whoever reads the file now reads rubbish under the same date and size
        spoil(path)
    for turn in range(2):
        for graph, before, _ in graphs:
            settings = node(graph, "RestoreFlowSampleImage")["inputs"]
            settings["seed"] = turn + 1
            after = saved(client, graph)
            assert np.abs(after - before).mean() < 10
            assert not np.array_equal(after, before)


def spoil(path: Path) -> None:
    stat = path.stat()
    rubbish = path.with_suffix(".new")
    rubbish.write_bytes(bytes(stat.st_size))
    os.utime(rubbish, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(rubbish, path)


def test_a_run_is_cancelled_within_a_step(client, prompt):
    node(prompt, "RestoreFlowSampleImage")["inputs"].update(steps=1000, seed=77)
    prompt_id = client.submit(prompt)
    while not client.json("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(1)
    client.post("/interrupt", b"{}")
    asked = time.monotonic()
    with pytest.raises(PromptError, match="interrupted in RestoreFlowSampleImage"):
        client.wait(prompt_id, 30)
    assert time.monotonic() - asked < 10


def test_the_pack_brings_its_template_blueprint_and_help(client):
    assert "restore_noisy_photo" in client.json("/workflow_templates")["restoreflow"]
    blueprints = client.json("/global_subgraphs").values()
    assert any(entry["info"]["node_pack"].endswith("restoreflow") for entry in blueprints)
    for name in client.json("/object_info"):
        if name.startswith("RestoreFlow"):
            assert client.get(f"/extensions/restoreflow/docs/{name}.md").startswith(b"#")
    with pytest.raises(urllib.error.HTTPError):
        client.get("/extensions/restoreflow/docs/Nothing.md")


def test_a_run_warns_of_nothing(host, client, prompt):
    before = len(host.log.read_text())
    node(prompt, "RestoreFlowSampleImage")["inputs"].update(steps=2, seed=99)
    saved(client, prompt)
    assert "warn" not in host.log.read_text()[before:].lower()
