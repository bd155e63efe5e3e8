"""Faces by points that people type, or click on the photo that the node shows."""

import math
import re
import secrets
from typing import Any

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..faces.detections import Faces, around
from ..faces.faults import faults
from ..faces.geometry import ORDER
from . import host
from .picture import Picture
from .sockets import FACES

LARGEST = 2048
"""Side in pixels of what the node shows, beyond which it is shrunk."""
FAST = 1
"""zlib's level: these files are looked at once."""


class FacesFromPoints(io.ComfyNode):
    """Faces that a person points at."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowFacesFromPoints",
            display_name="Faces From Points",
            category="RestoreFlow/faces",
            description="Faces by five points of each, which you click on the photo or type: for "
            "those that the detector misses. Without points and faces, each picture is itself "
            "one aligned face.",
            search_aliases=["landmarks", "manual face", "aligned face", "keypoints"],
            inputs=[
                io.Image.Input("image", tooltip="The photos that the points are in."),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    tooltip="A face a line: x, y in pixels of left eye, right eye, nose, left and "
                    "right corner of the mouth, as you see them on the upright face. A line of "
                    "another photo of a batch than the first begins with its number and a colon. "
                    "Clicks on the photo below write here.",
                ),
                FACES.Input(
                    "faces",
                    optional=True,
                    tooltip="Faces that the points are added to, such as those of Detect Faces. "
                    "Points on a face that is among them replace it.",
                ),
            ],
            outputs=[FACES.Output(display_name="faces", tooltip="For Align Faces.")],
        )

    @classmethod
    def execute(cls, image, points, faces=None) -> io.NodeOutput:
        rgb = Picture.of(image).rgb
        found = None if faces is None else host.expect(faces, Faces, "Faces From Points").on(rgb)
        chosen = _chosen(points, found, *rgb.shape[:1], *rgb.shape[2:])
        return io.NodeOutput(chosen, ui=cls._shown(rgb, found) if host.watched() else None)

    @classmethod
    def _shown(cls, pictures: Tensor, found: Faces | None) -> dict[str, list[Any]]:
        """What faces are marked on: the pictures, their true size, and boxes of faces found."""
        height, width = pictures.shape[2:]
        small = F.avg_pool2d(pictures, math.ceil(max(height, width) / LARGEST), ceil_mode=True)
        boxes = () if found is None else zip(found.picture, found.boxes, strict=True)
        return {
            "photos": ui.ImageSaveHelper.save_images(
                small.clamp(0, 1).movedim(1, -1),
                f"restoreflow_{secrets.token_hex(4)}",
                io.FolderType.temp,
                cls,
                compress_level=FAST,
            ),
            "size": [width, height],
            "found": [[int(picture), *box.tolist()] for picture, box in boxes],
        }


def _chosen(text: str, found: Faces | None, count: int, height: int, width: int) -> Faces:
    """The faces found and those of the points; without either, each picture is one."""
    if _words(text):
        given = Faces.from_points(*_typed(text, count, height, width), height, width)
        return given if found is None else found.joined(given)
    if found is None:
        host.tell("No points: each picture is taken as one aligned face.")
        return Faces.aligned(count, height, width)
    return found


def _typed(text: str, pictures: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Points [N, 5, 2] and the number of their picture [N] from 0, a face a line.

    Raises:
        ValueError: a line that does not hold five pairs, is of no picture or forms no face.
    """
    lines = {at: line for at, line in enumerate(text.split("\n"), 1) if _words(line)}
    found = [_face(number, line, pictures) for number, line in lines.items()]
    places, belongs = zip(*found, strict=True)
    points = torch.tensor(places, dtype=torch.float64).unflatten(1, (5, 2))
    for wrong, sentence in faults(around(points), points, height, width):
        if wrong.any():
            number = list(lines)[wrong.nonzero()[0].item()]
            raise ValueError(sentence.format(face=f"the face in line {number}"))
    return points, torch.tensor(belongs)


def _face(number: int, line: str, pictures: int) -> tuple[list[float], int]:
    """The ten numbers of a line, and its picture."""
    before, _, after = line.rpartition(":")
    try:
        picture = int(before) if _words(before) else 1
        places = [float(word) for word in _words(after)]
    except ValueError:
        picture, places = 1, []
    if len(places) != 10:
        raise ValueError(
            f"Line {number} of the points must hold five pairs x, y ({ORDER}); got {line!r:.80}."
        )
    if not 1 <= picture <= pictures:
        raise ValueError(f"Line {number} is of picture {picture}, but {pictures} came.")
    return places, picture - 1


def _words(text: str) -> list[str]:
    """What stands between blanks, commas and brackets, as web/faces/text.mjs splits it."""
    return [word for word in re.split(r"[\s\ufeff,;()\[\]]+", text) if word]
