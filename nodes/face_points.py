"""Faces by points that people type."""

import re

import torch
from comfy_api.latest import io
from torch import Tensor

from ..faces.detections import Faces
from ..faces.geometry import ORDER
from . import host
from .picture import Picture
from .sockets import FACES


class FacesFromPoints(io.ComfyNode):
    """Faces that a person points at."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowFacesFromPoints",
            display_name="Faces From Points",
            category="RestoreFlow/faces",
            description="Faces by five points of each that you type, for photos in which the "
            "detector finds none. Without points, each picture is itself one aligned face.",
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
                    "Without any point, each picture is itself an aligned face.",
                ),
            ],
            outputs=[FACES.Output(display_name="faces", tooltip="For Align Faces.")],
        )

    @classmethod
    def execute(cls, image, points) -> io.NodeOutput:
        count, _, *sides = Picture.of(image).rgb.shape
        if not points.strip():
            host.tell("No points: each picture is taken as one aligned face.")
            return io.NodeOutput(Faces.aligned(count, *sides))
        return io.NodeOutput(Faces.from_points(*_typed(points, count), *sides))


def _typed(text: str, pictures: int) -> tuple[Tensor, Tensor]:
    """Points [N, 5, 2] and the number of their picture [N] from 0, a face a line.

    Raises:
        ValueError: a line that does not hold five pairs, or is of no picture.
    """
    lines = enumerate(text.splitlines(), 1)
    found = [_face(number, line, pictures) for number, line in lines if line.strip()]
    places, belongs = zip(*found, strict=True)
    return torch.tensor(places, dtype=torch.float64).unflatten(1, (5, 2)), torch.tensor(belongs)


def _face(number: int, line: str, pictures: int) -> tuple[list[float], int]:
    """The ten numbers of a line, and its picture."""
    before, _, after = line.rpartition(":")
    words = re.split(r"[\s,;()\[\]]+", after.strip(" \t()[],;"))
    try:
        picture, places = int(before or 1), [float(word) for word in words]
    except ValueError:
        picture, places = 1, []
    if len(places) != 10:
        raise ValueError(
            f"Line {number} of the points must hold five pairs x, y ({ORDER}); got {line!r:.80}."
        )
    if not 1 <= picture <= pictures:
        raise ValueError(f"Line {number} is of picture {picture}, but {pictures} came.")
    return places, picture - 1
