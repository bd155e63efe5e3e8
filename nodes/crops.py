"""Faces out of their photos and back: upright crops, and restored ones in their place."""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..faces import masks
from ..faces.align import align
from ..faces.detections import Faces
from ..faces.geometry import SIDE
from ..faces.paste import paste
from . import host
from .picture import Picture
from .sockets import FACES

KEEP, REPLACE = "keep the photo's own", "take the crop's only"
"""Choices of `detail`."""
EMPTY = "The mask is empty: nothing is pasted. Paint it over a crop, or unwire it to use the shape."


class AlignFaces(io.ComfyNode):
    """Every face as restorers know faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowAlignFaces",
            display_name="Align Faces",
            category="RestoreFlow/faces",
            description="Cuts faces out of their photos: upright, of one size, aligned as in FFHQ, "
            "each by one resampling in float. Without a face, nothing after it runs.",
            search_aliases=["crop face", "ffhq", "face crop", "warp"],
            inputs=[
                io.Image.Input("image", tooltip="The photos that the faces were found in."),
                FACES.Input("faces", tooltip="From Detect Faces or Select Faces, 256 at most."),
                io.Int.Input(
                    "size",
                    default=SIDE,
                    min=64,
                    max=2048,
                    step=32,
                    tooltip="Side of a crop in pixels: what the network after it was trained on.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="crops", tooltip="The faces as one batch, in their order."
                )
            ],
        )

    @classmethod
    def execute(cls, image, faces, size) -> io.NodeOutput:
        picture, faces = Picture.of(image), host.expect(faces, Faces, "Align Faces")
        if not len(faces):  # an empty batch would break most nodes; Paste Faces never asks for it
            host.tell("There is no face to align; what needs the crops does not run.")
            return io.NodeOutput(ExecutionBlocker(None))
        crops = align(picture.rgb, faces, size)
        return io.NodeOutput(Picture(crops, None).image(crops))


class PasteFaces(io.ComfyNode):
    """Restored faces in their photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPasteFaces",
            display_name="Paste Faces",
            category="RestoreFlow/faces",
            description="Puts restored crops back where their faces are. Only what the restoration "
            "changed is added, so that the photo keeps its own detail. Photos without a face, "
            "or the node bypassed, pass through.",
            search_aliases=["paste back", "uncrop", "face restore", "composite"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The photos, or the same enlarged or restored, at any size; "
                    "alpha is kept.",
                ),
                io.Image.Input(
                    "crops",
                    lazy=True,
                    tooltip="What became of the crops of Align Faces. Nothing that leads here is "
                    "computed where there is no face.",
                ),
                FACES.Input("faces", tooltip="The same faces that went into Align Faces."),
                io.Combo.Input(
                    "shape",
                    options=list(masks.SHAPES),
                    default="ellipse",
                    tooltip="What of a crop is pasted: the face from hairline to chin, or nearly "
                    "the whole crop with hair and ears. Both have soft edges.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=True,
                    tooltip="Keep the photo's own colours along the edge of the shape.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Instead of the shape: what of a crop is pasted, one mask for all "
                    "crops or one for each. Its edges are softened.",
                ),
                io.Combo.Input(
                    "detail",
                    options=[KEEP, REPLACE],
                    default=KEEP,
                    optional=True,
                    tooltip="What is finer than a crop can hold, in faces larger than 320 pixels: "
                    "keep it, or let it go where it is mostly noise and grain.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The photos with their faces."),
                io.Mask.Output(display_name="mask", tooltip="Where faces were pasted."),
            ],
        )

    @classmethod
    def check_lazy_status(cls, faces, crops=None, **_) -> list[str]:
        """Crops are asked for only where there are faces."""
        found = len(host.expect(faces, Faces, "Paste Faces"))
        return ["crops"] if crops is None and found else []

    @classmethod
    def execute(
        cls, image, crops, faces, shape, match_colour, mask=None, detail=KEEP
    ) -> io.NodeOutput:
        picture, faces = Picture.of(image), host.expect(faces, Faces, "Paste Faces")
        if len(faces):
            restored = Picture.of(crops, "The crops").rgb
        else:
            host.tell("There is no face to paste: the photo passes through unchanged.")
            restored = picture.rgb.new_empty(0, 3, SIDE, SIDE)
        soft = masks.SHAPES[shape]() if mask is None else _softened(mask)
        if len(faces) and not soft.any():
            host.tell(EMPTY)
        choices = {"match_colour": match_colour, "keep_detail": detail == KEEP}
        pasted, where = paste(picture.rgb, restored, faces, soft, **choices)
        return io.NodeOutput(picture.image(pasted), where)


def _softened(mask: Tensor) -> Tensor:
    """A MASK of crops [N, S, S] with soft edges.

    Raises:
        ValueError: no squares, or values outside [0, 1].
    """
    height, width = mask.shape[-2:]
    if height != width:
        raise ValueError(
            f"The mask is one of the crops, which are square; this one is {width} x {height} "
            "pixels."
        )
    return masks.softened(mask.reshape(-1, height, width))
