"""How far two folders of photos lie apart as sets: FID and KID."""

from collections.abc import Callable
from itertools import islice

import torch
from comfy_api.latest import io
from torch import Tensor

from ..sampling.populations import Population, frechet, kernel_distance, levels
from . import host, libraries
from .measures import shown
from .photo_sets import PhotoSet

ENOUGH = 2000
"""Photos a folder below which FID is mostly bias: its features have 2048 dimensions."""
AT_ONCE = 16

Extract = Callable[[Tensor], Tensor]
"""Bytes [n, 3, side, side] -> features [n, d]."""


class CompareFolders(io.ComfyNode):
    """FID and KID."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowCompareFolders",
            display_name="Compare Folders (FID, KID)",
            category="RestoreFlow/judge",
            description="Tells how far two folders of photos lie apart as sets, such as restored "
            "and natural ones. Means something from some 2,000 photos a folder on, and nothing for "
            "a dozen. Needs the optional library torch-fidelity.",
            search_aliases=["fid", "kid", "frechet inception distance", "folder", "dataset"],
            is_output_node=True,
            inputs=[
                _folder("folder", "The photos to be judged"),
                _folder("reference", "The photos that they shall be like; no pairs are needed"),
                io.Int.Input(
                    "limit",
                    default=0,
                    min=0,
                    max=10**6,
                    tooltip="Of each folder the first so many photos; 0 takes all.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="fid", tooltip="0 is equal; the lower the closer."),
                io.Float.Output(
                    display_name="kid", tooltip="Around 0 is equal. Without bias for few photos."
                ),
                io.String.Output(display_name="report", tooltip="Both, and how many photos."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, reference, limit):
        """Measured again only if a photo is new, changed or gone."""
        if not (isinstance(folder, str) and isinstance(reference, str)):
            return float("nan")
        return [PhotoSet.of(where, limit or 0).fingerprint for where in (folder, reference)]

    @classmethod
    def execute(cls, folder, reference, limit) -> io.NodeOutput:
        found = [_listed(where, limit) for where in (folder, reference)]
        extract = _inception()
        sets = [population(files, extract) for files in found]
        fid, kid = frechet(*sets), kernel_distance(*sets)
        text = _told(fid, kid, *map(len, sets))
        return io.NodeOutput(fid, kid, text, ui=shown(text))


def _folder(name: str, what: str) -> io.String.Input:
    return io.String.Input(
        name,
        default="",
        tooltip=f"{what}: a folder below ComfyUI's input folder, or the full path of one that was "
        "allowed.",
    )


def _listed(folder: str, limit: int) -> PhotoSet:
    """The photos of a folder that may be read.

    Raises:
        FolderError: it may not.
        ValueError: it holds fewer than two.
    """
    found = PhotoSet.of(folder, limit)
    if len(found) < 2:
        raise ValueError(
            f"The folder {folder or 'input'} has {len(found)} photos; a set needs at least 2."
        )
    return found


def _inception() -> Extract:
    part = libraries.inception()
    size = (AT_ONCE, 3, libraries.INCEPTION_SIDE, libraries.INCEPTION_SIDE)
    machine = host.ready(part, torch.empty(size, device="meta"))

    def extract(pictures: Tensor) -> Tensor:
        machine.before_call()
        return part.network(pictures.to(part.device))[0]

    return extract


def population(
    files: PhotoSet, extract: Extract, side: int = libraries.INCEPTION_SIDE
) -> Population:
    """The features of photos; one photo and `AT_ONCE` small copies are held, and no more.

    Raises:
        ValueError: fewer than two can be read.
    """
    gathered, small = None, (levels(photo, side) for photo in files)
    while held := list(islice(small, AT_ONCE)):
        features = extract(torch.cat(held))
        gathered = gathered or Population(features.shape[1])
        gathered.add(features)
    if gathered is None or len(gathered) < 2:
        read = 0 if gathered is None else len(gathered)
        raise ValueError(f"Of {len(files)} photos in {files.root.name}, {read} can be read.")
    return gathered


def _told(fid: float, kid: float, count: int, others: int) -> str:
    text = f"FID {fid:.2f}, KID {1000 * kid:.3f} x 10^-3, of {count} and {others} photos"
    if min(count, others) >= ENOUGH:
        return text + "."
    return (
        f"{text}. Below some {ENOUGH:,} photos a folder FID is mostly bias: compare it with "
        "nothing but an FID of as many photos. KID has no bias, but of few photos it is mostly "
        "chance."
    )
