"""Two pictures of one thing, to be compared on the canvas."""

import secrets

from comfy_api.latest import io, ui
from torch import Tensor

from . import host
from .picture import Picture

FAST = 1
"""zlib's level: these files are looked at once."""


class BeforeAfter(io.ComfyNode):
    """The slider."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowBeforeAfter",
            display_name="Before / After",
            category="RestoreFlow/photos",
            description="Shows two pictures on top of each other, parted by a line to be moved. "
            "Batches are paged; sizes may differ.",
            search_aliases=["compare", "comparer", "slider", "a/b", "difference"],
            inputs=[
                io.Image.Input("before", tooltip="The picture left of the line."),
                io.Image.Input("after", tooltip="The picture right of the line."),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, before, after) -> io.NodeOutput:
        before, after = Picture.of(before, "Before"), Picture.of(after, "After")
        return io.NodeOutput(
            ui={  # the host would draw a preview of its own for the key `images`
                "before_images": cls._kept(before.image(before.rgb)),
                "after_images": cls._kept(after.image(after.rgb)),
            }
        )

    @classmethod
    def _kept(cls, images: Tensor) -> list[ui.SavedResult]:
        """The pictures as temporary files, of names that no browser has cached."""
        prefix = f"restoreflow_{secrets.token_hex(4)}"
        return ui.ImageSaveHelper.save_images(
            images, prefix, io.FolderType.temp, cls, compress_level=FAST
        )
