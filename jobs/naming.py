"""The names of a job's results: each photo's own, and the same whatever is done first."""

from __future__ import annotations

from pathlib import Path

from .encoding import Saving
from .ledger import Ledger
from .photos import PhotoError, target_path
from .rows import Job, Photo
from .scan import folded


def result_path(
    ledger: Ledger, photo: Photo, job: Job, node: str, how: Saving, suffix: str
) -> Path:
    """Where a Save node's result of a photo goes.

    Photos that would get one name, as a.heic and a.png do when both are saved as PNG, keep their
    own suffixes in it: a.heic_restored.png. A.jpg and a.jpg do not, as it would tell them apart no
    better. A photo that was saved before keeps its name, and one that came to the folder later
    makes way for it, as does a.jpg where the disk takes its result's name for A.jpg's.

    Raises:
        PhotoError: the place lies outside of the job's folder.
    """
    folder = (job.target / photo.path).parent
    if not folder.resolve().is_relative_to(job.target.resolve()):
        raise PhotoError(
            f"{folder} leads out of {job.target} by a link: put a folder in its place, or choose "
            "another output folder."
        )

    def named(path: str, whole: bool = False) -> Path:
        return target_path(Path(path), job.target, how, suffix, whole)

    plain, whole = named(photo.path), named(photo.path, whole=True)
    before = ledger.outputs.path(photo.id, node)
    for path in (plain, whole):
        if _below(path, job) == before:
            return path
    is_shared = any(
        plain == named(other)
        or (_are_alike(plain, named(other)) and not _are_alike(whole, named(other, whole=True)))
        for other in ledger.siblings(photo)
    )
    is_taken = ledger.outputs.rival(photo, job, _below(plain, job), node) is not None
    return whole if is_shared or is_taken else plain


def _below(path: Path, job: Job) -> str:
    return path.relative_to(job.target).as_posix()


def _are_alike(path: Path, other: Path) -> bool:
    return folded(str(path)) == folded(str(other))
