"""A photo job over people and landscapes: faces are restored, other photos pass through."""

import sys
from pathlib import Path

import environment
import numpy as np
import pytest
from graphs import template
from job_trials import contents, graph, hosted
from onnx_files import DETECTOR, spots, spotted, yunet
from PIL import Image
from restoreflow.jobs.workflow import Prompt, to_prompt
from workflow_parts import DEMO
from workflows_faces import TEMPLATES

PHOTOS = {"hill": [], "man": [(130, 110)], "sea": []}
"""Where each photo has white spots, which the detector takes for faces."""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    if Path(sys.prefix) != environment.python().parents[1]:
        pytest.skip("a real ComfyUI is started by `run.py test` only")
    with hosted(tmp_path_factory.mktemp("faces")) as running:
        weights = running.host.folder / "models" / "restoreflow" / DETECTOR
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_bytes(yunet(spots(), 64, 64))
        yield running


def of_photos(prompt: Prompt) -> Prompt:
    """A template's prompt made one for a job, with the demo's weights."""
    kinds = {node["class_type"]: key for key, node in prompt.items()}
    photo, save = (kinds[kind] for kind in ("LoadImage", "SaveImage"))
    job = graph()
    saving = {"image": prompt[save]["inputs"]["images"], "photo": [photo, 2]}
    prompt[photo], prompt[save] = job["1"], job["3"]
    prompt[save]["inputs"] |= saving
    for node in prompt.values():
        for name, value in {"weights": DEMO, "steps": 2}.items():
            node["inputs"] |= {name: value} if name in node["inputs"] else {}
    return prompt


def test_a_job_restores_faces_and_passes_other_photos_on(jobs):
    info = jobs.client.json("/object_info")
    source, target = (jobs.host.folder / kind / "mixed" for kind in ("input", "output"))
    source.mkdir(parents=True)
    for name, places in PHOTOS.items():
        Image.fromarray(spotted(places)).save(source / f"{name}.png")
    number = jobs.start(of_photos(to_prompt(template(TEMPLATES[0], info), info)), source, target)
    assert jobs.wait(number)["counts"] == {"done": 3}
    assert len(contents(target)) == 3
    for name, places in PHOTOS.items():
        result = np.asarray(Image.open(target / f"{name}_restored.png"))
        assert np.array_equal(result, spotted(places)) == (not places)
    log = jobs.host.log.read_text(errors="replace")
    assert log.count("the photo passes through unchanged") == 2
