"""Writes the pack's templates and blueprints, workflows/*.json and subgraphs/*.json.

python scripts/build_workflows.py, with the environment's Python (`run.py` makes it): a real
ComfyUI tells what its nodes take.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfyui
import graphs
import workflows_elir_trials
import workflows_faces
import workflows_judging
import workflows_known
import workflows_latent
import workflows_photos
import workflows_pixel
from client import Client

TEMPLATES = (
    *workflows_pixel.TEMPLATES,
    *workflows_latent.TEMPLATES,
    *workflows_elir_trials.TEMPLATES,
    *workflows_photos.TEMPLATES,
    *workflows_faces.TEMPLATES,
    *workflows_judging.TEMPLATES,
    *workflows_known.TEMPLATES,
)
BLUEPRINTS = (*workflows_pixel.BLUEPRINTS, *workflows_latent.BLUEPRINTS)


def build(info: Mapping[str, Any]) -> dict[Path, str]:
    """Every file and what it should hold, by a host's `/object_info`."""
    templates = {
        comfyui.ROOT / "workflows" / f"{wanted.name}.json": graphs.template(wanted, info)
        for wanted in TEMPLATES
    }
    blueprints = {
        comfyui.ROOT / "subgraphs" / f"{wanted.name}.json": graphs.blueprint(wanted, info)
        for wanted in BLUEPRINTS
    }
    return {path: graphs.text(graph) for path, graph in {**templates, **blueprints}.items()}


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        comfyui.Host(comfyui.find(), Path(scratch)) as host,
    ):
        info = Client(host.url).json("/object_info")
    for path, content in build(info).items():
        path.write_text(content, encoding="ascii")
        print(path.relative_to(comfyui.ROOT))


if __name__ == "__main__":
    main()
