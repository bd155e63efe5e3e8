"""Faces that ComfyUI's own MediaPipe nodes found."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from comfy_api.latest import io

from ..faces.detections import Faces
from . import host
from .sockets import FACE_LANDMARKS, FACES

POINTS = (468, 473, 1, 61, 291)
"""Of MediaPipe's 478 landmarks: the irises' middles, the nose, the corners of the mouth, left first
as one sees them. Landmark 1 lies where the template has its nose; 4, the very tip, lies higher."""


class FacesFromLandmarks(io.ComfyNode):
    """MediaPipe's faces on the pack's wire."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowFacesFromLandmarks",
            display_name="Faces From Landmarks",
            category="RestoreFlow/faces",
            description="Faces found by ComfyUI's own MediaPipe Face Landmarker (ComfyUI 0.23 and "
            "newer), in the place of Detect Faces.",
            search_aliases=["mediapipe", "face mesh", "landmarker"],
            inputs=[
                FACE_LANDMARKS.Input(
                    "landmarks", tooltip="From MediaPipe Face Landmarker, run on the same photos."
                )
            ],
            outputs=[FACES.Output(display_name="faces", tooltip="For Select or Align Faces.")],
        )

    @classmethod
    def execute(cls, landmarks) -> io.NodeOutput:
        faces = _read(landmarks)
        host.tell(f"Faces found: {len(faces)}." if len(faces) else "No face was found.")
        return io.NodeOutput(faces)


def _read(landmarks: Any) -> Faces:
    """The faces of the host's value, less what cannot be one.

    Raises:
        ValueError: a value that is not MediaPipe's, as another pack's of the same type would be.
    """
    try:
        height, width = map(int, landmarks["image_size"])
        found = list(_each(landmarks["frames"]))
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            "These landmarks are not those of ComfyUI's MediaPipe Face Landmarker, which gives "
            "478 of each face."
        ) from error
    if not found:
        return Faces.none(height, width)
    numbers, boxes, points, scores = zip(*found, strict=True)
    parts = (torch.stack(boxes), torch.stack(points), torch.tensor(scores), torch.tensor(numbers))
    return Faces.credible(*parts, height, width)


def _each(frames: list[list[Mapping[str, Any]]]) -> Iterator[tuple]:
    """Picture, box, five points and score of every face."""
    for number, frame in enumerate(frames):
        for face in frame:
            points = torch.as_tensor(face["landmarks_xy"], dtype=torch.float64)
            points = points[list(POINTS), :2]  # some give a depth, too
            box = torch.as_tensor(face["bbox_xyxy"], dtype=torch.float64)
            yield number, box.reshape(4), points.reshape(5, 2), float(face["score"])
