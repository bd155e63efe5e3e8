"""Photo files for the nodes: what is carried beside the pixels, the folder to try, the saving."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from comfy.cli_args import args
from torch import Tensor

from ..jobs import photos
from ..jobs.folders import Folders
from ..jobs.provenance import provenance
from ..jobs.scan import scan
from ..models import hub
from .picture import Picture

AS_SOURCE = "as the source"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Carried:
    """What goes with a photo's pixels past the networks: the wire PHOTO is a tuple of these."""

    path: str
    """Below its folder, with `/`."""
    alpha: np.ndarray | None
    """[H, W] in [0, 1]."""
    source: photos.Source
    sha256: str | None = None
    row: int | None = None
    """Its number in the ledger, if a job asked for it."""


@dataclass(frozen=True)
class Opened:
    """A photo that was read."""

    carried: Carried
    pixels: np.ndarray
    """[H, W, 3] float32 in [0, 1]."""


@dataclass(frozen=True)
class Result:
    """A picture on its way to the disk, with the choices of the node that saves it."""

    pixels: np.ndarray
    """[H, W, 3] float32, sRGB."""
    alpha: np.ndarray | None
    """[H, W], in place of the photo's own."""
    how: photos.Saving
    suffix: str
    embed_workflow: bool
    sidecar: bool
    replace: bool


def first(folders: Folders, folder: str, index: int) -> tuple[Path, str]:
    """The photo of that number in a folder, for trying a graph: its file, and its path below it.

    Args:
        folders: those that may be read.
        folder: below the host's input folder, or a full path in an allowed one.

    Raises:
        FolderError: the folder is not allowed.
        PhotoError: it holds no photo of that number.
    """
    root = folders.resolve(
        os.path.normpath(os.path.join(folder_paths.get_input_directory(), folder))
    )
    found = next(islice(scan(root, photos.SUFFIXES), index, None), None)
    if found is None:
        raise photos.PhotoError(
            f"The folder {folder or 'input'} has no photo of number {index}: "
            "choose a folder with photos, or a smaller index."
        )
    return root / found.path, found.path


def opened(file: Path, path: str, sha256: str | None = None, row: int | None = None) -> Opened:
    """Read a photo whose path below its folder is `path`; what it lost is told in the log.

    Raises:
        PhotoError: it cannot be read.
    """
    photo = photos.read(file)
    for note in photo.notes:
        log.info("RestoreFlow: %s: %s", path, note)
    return Opened(Carried(path, photo.alpha, photo.source, sha256, row), photo.pixels)


def results(
    image: Tensor,
    format: str,
    bits: str,
    quality: int,
    metadata: str,
    colour: str,
    grey: str,
    **more: Any,
) -> list[Result]:
    """The pictures of an IMAGE, to be saved as the inputs of the node say."""
    depth = None if bits == AS_SOURCE else int(bits)
    how = photos.Saving(format, depth, quality or None, metadata, colour, grey)
    picture = Picture.of(image)
    pixels = picture.rgb.movedim(1, -1).cpu().contiguous().numpy()
    alphas = [None] * len(pixels) if picture.alpha is None else picture.alpha[..., 0].cpu().numpy()
    return [Result(one, alpha, how, **more) for one, alpha in zip(pixels, alphas, strict=True)]


def matched(photo: tuple[Carried, ...] | None, pictures: int) -> list[Carried | None]:
    """What belongs to each picture.

    Raises:
        ValueError: they are not one a photo; only of a single photo outside of jobs may be more.
    """
    if photo is None:
        return [None] * pictures
    if len(photo) == 1 and photo[0].row is None:
        return [*photo] * pictures
    if len(photo) != pictures:
        raise ValueError(
            f"Save Restored Photo got {pictures} pictures for {len(photo)} photos: "
            "give it one picture for each photo."
        )
    return [*photo]


def save(carried: Carried | None, result: Result, hidden: Any) -> Path:
    """Save a picture in the host's output folder, under the first name that nothing has."""
    root = Path(folder_paths.get_output_directory())
    relative = Path(carried.path if carried else "photo.png")
    suffixes = (result.suffix + (f"_{number}" if number > 1 else "") for number in count(1))
    targets = (photos.target_path(relative, root, result.how, suffix) for suffix in suffixes)
    free = next(path for path in targets if result.replace or not os.path.lexists(path))
    workflow = (hidden.extra_pnginfo or {}).get("workflow")
    return write(free, carried, result, hidden.prompt, workflow).path


def write(
    target: Path,
    carried: Carried | None,
    result: Result,
    graph: Mapping[str, Any] | None,
    workflow: Mapping[str, Any] | None,
    **more: Any,
) -> photos.Written:
    """Write a result with all that belongs into and beside it; `more` is for `photos.write`."""
    known = {"prompt": graph, "workflow": workflow}
    embedded = {key: json.dumps(value) for key, value in known.items() if value}
    sidecar = None
    if result.sidecar:
        origin = carried and {"source": carried.path, "source_sha256": carried.sha256}
        sidecar = {**(origin or {}), **provenance(graph or {}, _revision)}
    own_alpha = carried.alpha if carried else None
    written = photos.write(
        target,
        result.pixels,
        own_alpha if result.alpha is None else result.alpha,
        carried.source if carried else None,
        result.how,
        texts=embedded if result.embed_workflow and not args.disable_metadata else None,
        sidecar=sidecar,
        replace=result.replace,
        **more,
    )
    for note in written.notes:
        log.info("RestoreFlow: %s: %s", target.name, note)
    return written


def _revision(file: str) -> str | None:
    """The published version that a known weight file is fetched from."""
    known = hub.named(file)
    return known and known.source.url()
