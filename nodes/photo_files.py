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
import torch
from comfy.cli_args import args
from torch import Tensor

from ..jobs import photos
from ..jobs.folders import FolderError, Folders
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
    sha256: str
    row: int | None = None
    """Its number in the ledger, if a job asked for it."""
    asker: str = ""
    """What that job's prompt showed for it."""


@dataclass(frozen=True)
class Opened:
    """A photo that was read."""

    carried: Carried
    pixels: np.ndarray
    """[H, W, 3] float32 in [0, 1]."""
    notes: tuple[str, ...]
    """What could not be taken as it is in the file, each a sentence."""


@dataclass(frozen=True)
class Choices:
    """How pictures are saved, as the inputs of the node say."""

    how: photos.Saving
    suffix: str
    embed_workflow: bool
    sidecar: bool
    replace: bool

    @classmethod
    def of(
        cls,
        format: str,
        bits: str,
        quality: int,
        metadata: str,
        colour: str,
        grey: str,
        **more: Any,
    ) -> "Choices":
        depth = None if bits == AS_SOURCE else int(bits)
        return cls(photos.Saving(format, depth, quality or None, metadata, colour, grey), **more)


def first(folders: Folders, folder: str, index: int) -> tuple[Path, str]:
    """The photo of that number in a folder, for trying a graph: its file, and its path below it.

    Args:
        folders: those that may be read.
        folder: below the host's input folder, or a full path in an allowed one.

    Raises:
        FolderError: the folder is not allowed, or there is none.
        PhotoError: it holds no photo of that number.
    """
    root = folders.resolve(
        os.path.normpath(os.path.join(folder_paths.get_input_directory(), folder))
    )
    if not root.is_dir():
        raise FolderError(f"There is no folder {root}: choose one with photos.")
    found = next(islice(scan(root, photos.SUFFIXES), index, None), None)
    if found is None:
        raise photos.PhotoError(
            f"The folder {folder or 'input'} has no photo of number {index}: "
            "choose a folder with photos, or a smaller index."
        )
    return root / found.path, found.path


def opened(file: Path, path: str, row: int | None = None) -> Opened:
    """Read a photo whose path below its folder is `path`; what it lost is told in the log.

    Args:
        row: its number in the ledger, if a job asks.

    Raises:
        PhotoError: it cannot be read.
    """
    photo = photos.read(file)
    for note in photo.notes:
        log.info("RestoreFlow: %s: %s", path, note)
    carried = Carried(path, photo.alpha, photo.source, photo.sha256, row)
    return Opened(carried, photo.pixels, photo.notes)


def transparency(opened: Opened) -> Tensor:
    """A photo's MASK [H, W]: 1 where it is transparent."""
    alpha = opened.carried.alpha
    return torch.zeros(opened.pixels.shape[:2]) if alpha is None else 1 - torch.from_numpy(alpha)


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
            f"Save Restored Photo got {_counted(pictures, 'picture')} for "
            f"{_counted(len(photo), 'photo')}: give it one picture for each photo."
        )
    return [*photo]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def save(carried: Carried | None, picture: Tensor, choices: Choices, hidden: Any) -> Path:
    """Save a picture in the host's output folder, under the first name that nothing has."""
    root = Path(folder_paths.get_output_directory())
    relative = Path(carried.path if carried else "photo.png")
    suffixes = (choices.suffix + (f"_{number}" if number > 1 else "") for number in count(1))
    targets = (photos.target_path(relative, root, choices.how, suffix) for suffix in suffixes)
    free = next(path for path in targets if choices.replace or not os.path.lexists(path))
    workflow = (hidden.extra_pnginfo or {}).get("workflow")
    return write(free, carried, picture, choices, hidden.prompt, workflow).path


def write(
    target: Path,
    carried: Carried | None,
    picture: Tensor,
    choices: Choices,
    graph: Mapping[str, Any] | None,
    workflow: Mapping[str, Any] | None,
    **more: Any,
) -> photos.Written:
    """Write a picture [H, W, C] with all that belongs into and beside it.

    Args:
        more: for `photos.write`.

    Raises:
        ValueError: it is no picture, or cannot be written.
        HeldUpError: nothing can be written there now.
    """
    pixels, alpha = _pixels(picture)
    known = {"prompt": graph, "workflow": workflow}
    embedded = {key: json.dumps(value) for key, value in known.items() if value}
    sidecar = None
    if choices.sidecar:
        origin = carried and {"source": carried.path, "source_sha256": carried.sha256}
        sidecar = {**(origin or {}), **provenance(graph or {}, _revision)}
    own_alpha = carried.alpha if carried else None
    written = photos.write(
        target,
        pixels,
        own_alpha if alpha is None else alpha,
        carried.source if carried else None,
        choices.how,
        texts=embedded if choices.embed_workflow and not args.disable_metadata else None,
        sidecar=sidecar,
        replace=choices.replace,
        **more,
    )
    for note in written.notes:
        log.info("RestoreFlow: %s: %s", target.name, note)
    return written


def _pixels(picture: Tensor) -> tuple[np.ndarray, np.ndarray | None]:
    """[H, W, 3] float32, and the alpha [H, W] if there is one."""
    parted = Picture.of(picture[None])
    pixels = parted.rgb[0].movedim(0, -1).cpu().contiguous().numpy()
    return pixels, None if parted.alpha is None else parted.alpha[0, ..., 0].cpu().numpy()


def _revision(file: str) -> str | None:
    """The published version that a known weight file is fetched from."""
    known = hub.named(file)
    return known and known.source.url()
