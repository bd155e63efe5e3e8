"""Eight faces of a 24-megapixel photo, measured in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WORK = """
import resource, sys, torch
from faces.align import align
from faces.detections import Faces
from faces.geometry import TEMPLATE
from faces.masks import ellipse
from faces.paste import paste

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

torch.set_num_threads(1)
photo = torch.rand(1, 3, 4000, 6000)
corners = torch.tensor([[x, y] for y in (300, 2200) for x in (200, 1600, 3000, 4400)])
points = TEMPLATE * 2.6 + corners[:, None]
faces = Faces.from_points(points, torch.zeros(8, dtype=torch.long), 4000, 6000)
before = peak()
crops = align(photo, faces)
paste(photo, 1 - crops, faces, ellipse())
print(peak() - before)
"""


def test_eight_faces_of_24_megapixels_take_a_bounded_memory():
    pytest.importorskip("resource")
    run = subprocess.run(
        [sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1.5e9
