"""Photo in, photo out: the two nodes that make a graph one for whole folders."""

import json
import os
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..jobs.graph import LARGEST_GROUP
from . import host, jobs, photo_files
from .photo_files import AS_SOURCE
from .sockets import PHOTO


class JobPhoto(io.ComfyNode):
    """A photo of a folder, with all that its file says."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowJobPhoto",
            display_name="Job Photo",
            category="RestoreFlow/photos",
            description="Where the photos of a folder come into the graph. A photo job (sidebar: "
            "Photo jobs) runs the graph for each of them; without a job the first one is shown.",
            search_aliases=["folder", "batch", "load image", "directory", "photo job"],
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="The folder to try the graph with: below ComfyUI's input folder, or a "
                    "full path that was allowed. A job brings its own.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    tooltip="Which photo of the folder is shown without a job, from 0.",
                ),
                io.Int.Input(
                    "group",
                    default=1,
                    min=1,
                    max=LARGEST_GROUP,
                    tooltip="Photos of equal size that a job gives to the graph as one batch. "
                    "A failed group is tried again one by one.",
                ),
                _untouched("job", "The job that asks."),
                _untouched("rows", "The photos that it asks for."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The photo, upright and in sRGB."),
                io.Mask.Output(display_name="mask", tooltip="1 where the photo is transparent."),
                PHOTO.Output(
                    display_name="photo",
                    tooltip="Its name, EXIF, colours and depth, for Save Restored Photo.",
                ),
                io.String.Output(display_name="name", tooltip="The file's name, without suffix."),
                io.Int.Output(display_name="index", tooltip="Its number in the folder, from 0."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, index, group, job="", rows=""):
        """Never cached in a job, which counts on being told; else as long as the file is it."""
        if rows or not isinstance(folder, str):
            return float("nan")
        file, _ = photo_files.first(jobs.folders(), folder, index or 0)
        status = os.stat(file)
        return f"{file} {status.st_size} {status.st_mtime_ns}"

    @classmethod
    def execute(cls, folder, index, group, job="", rows="") -> io.NodeOutput:
        if rows:
            found = jobs.take(job, _numbers(rows))
            index = jobs.rank(found[0].carried)
        else:
            file = photo_files.first(jobs.folders(), folder, index)
            found = [photo_files.opened(*file)]
        images = [torch.from_numpy(one.pixels) for one in found]
        return io.NodeOutput(
            torch.stack(images) if len(images) > 1 else images[0][None],
            torch.stack([photo_files.transparency(one) for one in found]),
            tuple(one.carried for one in found),
            Path(found[0].carried.path).stem,
            index,
        )


def _numbers(rows: str) -> list[int]:
    """The photos that a job asks for; none if it is no job that does."""
    try:
        found = json.loads(rows)
    except (ValueError, RecursionError):
        return []
    is_list = isinstance(found, list) and all(type(row) is int for row in found)
    return found if is_list else []


def _untouched(name: str, tooltip: str) -> io.String.Input:
    """An input that jobs fill in and nobody sees."""
    widget = io.String.Input(name, optional=True, default="", socketless=True, tooltip=tooltip)
    widget.extra_dict = {**(getattr(widget, "extra_dict", None) or {}), "hidden": True}
    return widget


class SaveRestoredPhoto(io.ComfyNode):
    """A photo file like the one it came from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSaveRestoredPhoto",
            display_name="Save Restored Photo",
            category="RestoreFlow/photos",
            description="Saves a photo like the one it came from: name, folder, format, depth, "
            "colours and EXIF. In a job the result goes to the job's folder, else to ComfyUI's "
            "output folder.",
            search_aliases=["save image", "exif", "export", "tiff", "16 bit", "photo job"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=_saving_inputs(),
            outputs=[io.Image.Output(display_name="image", tooltip="The picture as it came.")],
        )

    @classmethod
    def execute(cls, image, photo=None, **choices) -> io.NodeOutput:
        if photo is not None:
            host.expect(photo, tuple, "Save Restored Photo")
        chosen = photo_files.Choices.of(**choices)
        carried = photo_files.matched(photo, len(image))
        if carried[0] is not None and carried[0].row is not None:
            jobs.save(carried, image, chosen, str(cls.hidden.unique_id))
            return io.NodeOutput(image)
        pairs = zip(carried, image, strict=True)
        saved = [photo_files.save(*pair, chosen, cls.hidden) for pair in pairs]
        return io.NodeOutput(image, ui=_shown(saved))


def _saving_inputs() -> list[io.Input]:
    return [
        io.Image.Input("image", tooltip="The restored picture; alpha, if it has one, is saved."),
        PHOTO.Input(
            "photo",
            optional=True,
            tooltip="From Job Photo: the name, and all that its file holds beside the pixels. "
            "Without it the picture is saved as a plain PNG.",
        ),
        io.String.Input(
            "suffix", default="_restored", tooltip="Goes between the photo's name and its ending."
        ),
        io.Combo.Input(
            "format",
            options=[AS_SOURCE, "png", "jpeg", "webp", "tiff"],
            default=AS_SOURCE,
            tooltip="As the source: PNG for those that are only read (HEIC, AVIF, GIF, ...).",
        ),
        io.Combo.Input(
            "bits",
            options=[AS_SOURCE, "8", "16"],
            default=AS_SOURCE,
            tooltip="Of a channel; JPEG and WebP hold 8.",
        ),
        io.Int.Input(
            "quality",
            default=0,
            min=0,
            max=100,
            tooltip="Of JPEG and WebP; 0 takes the photo's own, or 95.",
        ),
        io.Combo.Input(
            "metadata",
            options=["keep", "strip"],
            default="keep",
            tooltip="Keep EXIF, IPTC, XMP and colour profile, or save pixels only.",
        ),
        io.Combo.Input(
            "colour",
            options=["source profile", "srgb"],
            default="source profile",
            tooltip="Colours as the photo's own profile has them, or in sRGB.",
        ),
        io.Combo.Input(
            "grey",
            options=["as it is", "keep grey"],
            default="as it is",
            tooltip="Keep grey: a photo that came with one channel is saved with one.",
        ),
        io.Boolean.Input(
            "embed_workflow",
            default=True,
            tooltip="Put the graph into the file, so that dropping it on the canvas brings it "
            "back. Stripped metadata, or a ComfyUI that embeds none, goes before.",
        ),
        io.Boolean.Input(
            "sidecar",
            default=False,
            tooltip="Write a JSON file beside it: models, seeds, steps, the graph's hash.",
        ),
        io.Boolean.Input(
            "replace",
            default=False,
            tooltip="Save over a file of that name even if it is not this job's own.",
        ),
    ]


def _shown(paths: list[Path]) -> dict:
    """The node's own preview of what it has saved, as far as a browser shows it."""
    root = folder_paths.get_output_directory()
    shown = [path for path in paths if path.suffix.lower() not in (".tif", ".tiff")]
    places = [(path.name, os.path.relpath(path.parent, root)) for path in shown]
    return ui.SavedImages(
        [
            ui.SavedResult(name, "" if folder == "." else folder, io.FolderType.output)
            for name, folder in places
        ]
    ).as_dict()
