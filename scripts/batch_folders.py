"""The folders of a batch on this machine: what lies in the one, what comes into the other."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pack  # noqa: F401 - makes restoreflow importable
from restoreflow.jobs import files
from restoreflow.jobs.photos import SUFFIXES
from restoreflow.jobs.scan import Found, ignore, scan


class PlaceError(ValueError):
    """A folder or file that will not do; one sentence says why."""


def prepare(source: Path, target: Path) -> tuple[Path, Path]:
    """The real paths of both folders; the second one is made.

    Raises:
        PlaceError: photos cannot come from the one, or results not go into the other.
    """
    source, target = (Path(os.path.realpath(folder)) for folder in (source, target))
    if not source.is_dir():
        raise PlaceError(f"there is no folder {source}")
    if source == target:
        raise PlaceError("results cannot go among the photos: choose another folder for --out")
    if next(photos(source, target), None) is None:
        raise PlaceError(f"there is no photo in {source}")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(f"the folder {target} cannot be made ({error.strerror})") from error
    if not os.access(target, os.W_OK):
        raise PlaceError(f"nothing can be written into {target}: choose another folder for --out")
    return source, target


def photos(
    source: Path,
    target: Path,
    limit: int | None = None,
    trouble: Callable[[str, str], None] = ignore,
) -> Iterator[Found]:
    """The photos of a job, in the order in which it takes them.

    Args:
        trouble: called with a path and a reason for each thing that is left out.
    """
    return islice(scan(source, SUFFIXES, without=target, trouble=trouble), limit)


def place(root: Path, relative: str) -> Path:
    """Where a result lies below a folder, if a server may choose such a place.

    Raises:
        PlaceError: it lies elsewhere, or is no picture.
    """
    path = PurePosixPath(relative)
    found = root.joinpath(*path.parts)
    is_plain = ".." not in path.parts and not path.is_absolute() and "\\" not in relative
    if os.name == "nt" and ":" in relative:
        is_plain = False
    if not is_plain or not found.parent.resolve().is_relative_to(root):
        raise PlaceError(f"the server names {relative} as a result, which lies elsewhere")
    if found.suffix.lower() not in SUFFIXES:
        raise PlaceError(f"the server names {relative} as a result, which is no picture")
    return found


@contextmanager
def arriving(target: Path) -> Iterator[BinaryIO]:
    """A file to be filled, which gets its name when it is complete and on the disk.

    Raises:
        PlaceError: there is a file of that name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary(target) as part:
        with open(part, "xb") as file:
            yield file
            files.flush(file)
        try:
            files.name(part, target)
        except FileExistsError as error:
            raise PlaceError(f"{target} is there already and is not this result") from error
