"""Which faces there are in photos, and which of them are chosen."""

import torch
from comfy_api.latest import io
from torch import Tensor

from ..faces.detections import Faces
from ..models import registry
from ..models.contracts import Detector
from ..models.families.yunet import SCORE, SMALLEST
from . import face_boxes, host, weights
from .picture import Picture
from .sockets import FACES

YUNET = "face_detection_yunet_2023mar.onnx"
DIGITS = 6
"""Of the number of a face at most."""


class DetectFaces(io.ComfyNode):
    """The faces of photos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowDetectFaces",
            display_name="Detect Faces",
            category="RestoreFlow/faces",
            description="Finds the faces of photos, of any size and several at once, with YuNet, "
            "which is fetched on its first run (0.2 MB). Photos without a face pass through "
            "Paste Faces unchanged.",
            search_aliases=["face detection", "yunet", "find faces", "landmarks"],
            inputs=[
                io.Image.Input("image", tooltip="The photos."),
                io.Float.Input(
                    "score",
                    default=SCORE,
                    min=0.05,
                    max=1.0,
                    step=0.01,
                    tooltip="How sure the detector must be. Lower it for faces that it misses; "
                    "then Select Faces drops what is none.",
                ),
                io.Int.Input(
                    "smallest",
                    default=SMALLEST,
                    min=SMALLEST,
                    max=2000,
                    tooltip="Height in pixels from which faces are looked for. Twice as large "
                    "takes a quarter of the time in large photos.",
                ),
            ],
            outputs=[
                FACES.Output(
                    display_name="faces", tooltip="Boxes, five points and scores, the surest first."
                )
            ],
        )

    @classmethod
    def execute(cls, image, score, smallest) -> io.NodeOutput:
        picture = Picture.of(image)
        watch = {"progress": host.progress, "tell": host.tell}
        detector = weights.load(YUNET, registry.DETECTOR, "float32", **watch)
        faces = _detected(detector, picture.rgb, score, smallest)
        host.tell(_told(faces, len(image)))
        return io.NodeOutput(faces)


def _detected(detector: Detector, pictures: Tensor, score: float, smallest: int) -> Faces:
    """The faces of pictures [B, 3, H, W], one after another."""
    machine, found = host.ready(detector, pictures[:1]), []
    for number, picture in enumerate(pictures, 1):
        machine.before_call()
        found += detector.detect(picture[None], score, smallest)
        host.progress(number, len(pictures))
    boxes, points, scores = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    counts = torch.tensor([len(one.scores) for one in found])
    belongs = torch.arange(len(found)).repeat_interleave(counts)
    return Faces.credible(boxes, points, scores, belongs, *pictures.shape[2:])


def _told(faces: Faces, pictures: int) -> str:
    """How many faces there are, and which photos have none."""
    without = sorted(set(range(1, pictures + 1)) - {*(faces.picture + 1).tolist()})
    if not len(faces):
        return "No face was found: the photo stays as it is."
    none = f"; none in photo {', '.join(map(str, without))}" if without else ""
    return f"Faces found: {len(faces)}{none}."


class SelectFaces(io.ComfyNode):
    """The faces that are to be restored."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSelectFaces",
            display_name="Select Faces",
            category="RestoreFlow/faces",
            description="Keeps those faces that every setting lets through, and shows all of them "
            "with their numbers. Bypassed, it passes all faces on.",
            search_aliases=["filter faces", "face index", "largest face", "choose face"],
            inputs=[
                FACES.Input("faces", tooltip="From Detect Faces or Faces From Points."),
                io.Int.Input(
                    "largest",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Keep so many of the largest faces of each photo; 0 keeps all.",
                ),
                io.Float.Input(
                    "score",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Keep faces of which the detector was at least so sure.",
                ),
                io.Int.Input(
                    "smallest",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Keep faces whose box is at least so many pixels wide and high.",
                ),
                io.String.Input(
                    "numbers",
                    default="",
                    tooltip="Keep the faces of these numbers in the preview, such as 1, 3; empty "
                    "keeps all.",
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="What the preview shows behind the boxes."
                ),
                io.Mask.Input(
                    "region",
                    optional=True,
                    tooltip="Keep faces whose box lies in it by half or more; drawn on the photo.",
                ),
            ],
            outputs=[
                FACES.Output(display_name="faces", tooltip="The faces chosen."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="All faces with their numbers, those chosen in green; at most "
                    f"{face_boxes.LARGEST} pixels a side.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, faces, largest, score, smallest, numbers, image=None, region=None
    ) -> io.NodeOutput:
        faces = host.expect(faces, Faces, "Select Faces")
        pictures = _ground(faces) if image is None else Picture.of(image).rgb
        chosen = faces
        if len(faces):  # a number or region that suits no photo without faces is no error
            chosen = faces.subset(_numbered(numbers, len(faces)))
            chosen = chosen if region is None else chosen.inside(region)
            chosen = chosen.scoring(score).at_least(smallest)
            chosen = chosen.largest(largest) if largest else chosen
            host.tell(f"Faces chosen: {len(chosen)} of {len(faces)}.")
        shown = face_boxes.draw(pictures, faces.on(pictures), chosen.on(pictures))
        return io.NodeOutput(chosen, shown)


def _ground(faces: Faces) -> Tensor:
    """Grey pictures [B, 3, H, W] of the faces' size."""
    count = int(faces.picture.max()) + 1 if len(faces) else 1
    return torch.full((1, 1, 1, 1), 0.5).expand(count, 3, faces.height, faces.width)


def _numbered(text: str, count: int) -> list[int]:
    """The faces that a text such as '1, 3' names, counted from 0; without a number all of them.

    Raises:
        ValueError: something else than whole numbers.
    """
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and len(word) <= DIGITS for word in words):
        raise ValueError(f"Numbers of faces are written as 1, 3; got {text!r:.80}.")
    named = dict.fromkeys(int(word) - 1 for word in words)
    return list(named) if words else list(range(count))
