"""Photo files in and out, nothing lost: the one door to them for the other rooms.

A photo is written beside nothing: under a hidden name in the target's folder, flushed to the disk,
then given its name at once. A crash leaves the target as it was, and at most a file whose name ends
in TEMPORARY, which `delete_leftovers` removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .encoding import Saving, encode
from .reading import LIMIT_PIXELS, read, readable, size
from .source import FORMATS, SUFFIXES, Photo, PhotoError, Source

__all__ = [
    "LIMIT_PIXELS", "SUFFIXES", "TEMPORARY", "DiskFullError", "Photo", "PhotoError", "Saving",
    "Source", "Written", "delete_leftovers", "read", "readable", "size", "target_path", "write",
]  # fmt: skip

TEMPORARY = ".restoreflow-part"
"""How the names of files end that are being written."""
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class DiskFullError(OSError):
    """There is no room for a photo: no fault of the photo, so a job pauses.

    Its `strerror` is the sentence to show.
    """


@dataclass(frozen=True)
class Written:
    """A photo that has its name."""

    path: Path
    sha256: str
    notes: tuple[str, ...] = ()
    """What could not be carried into the file, each a sentence to show."""


def target_path(relative: Path, root: Path, how: Saving, suffix: str = "") -> Path:
    """Where a photo of a folder is written: the same place under another root.

    Args:
        relative: the photo's path below its own folder.
        root: the folder to write into; symbolic links in it may not lead out of it.
        suffix: goes between the name and its extension, which stays if it is the format's.

    Raises:
        PhotoError: the place lies outside the root.
    """
    format = {"as the source": _format(relative) or "PNG"}.get(how.format, how.format.upper())
    kept = relative.suffix.lower() in FORMATS[format]
    name = f"{relative.stem}{suffix}{relative.suffix if kept else FORMATS[format][0]}"
    target = root / relative.parent / name
    if ".." in relative.parts or Path(name).name != name or not _is_inside(target, root):
        raise PhotoError(f"{target} lies outside of {root}: choose a place in that folder.")
    return target


def write(
    target: Path,
    pixels: np.ndarray,
    alpha: np.ndarray | None = None,
    source: Source | None = None,
    how: Saving | None = None,
    *,
    texts: Mapping[str, str] | None = None,
    sidecar: Mapping[str, Any] | None = None,
    before_rename: Callable[[str], None] = lambda sha256: None,
    own: str | None = None,
    replace: bool = False,
) -> Written:
    """Write a photo in the format of its name, wholly or not at all.

    Args:
        target: ends in a suffix of PNG, JPEG, WebP or TIFF; its folders are made.
        pixels: [H, W, 3] in sRGB, [0, 1].
        alpha: [h, w] in [0, 1], resized to the pixels, or None.
        source: of the photo that the pixels were made from; its metadata and colours are carried.
        texts: the graph as JSON by ComfyUI's keys, `prompt` and `workflow`.
        sidecar: goes into `<target>.json` with the photo's name and sha256, and before the photo:
            whoever sees the photo finds it.
        before_rename: called with the sha256 when the file lies on the disk and before it has its
            name; what it raises leaves the target untouched.
        own: the sha256 of a file of the caller's own under that name, which may be replaced.
        replace: whether a foreign file may be.

    Raises:
        PhotoError: there is a foreign file, or the photo cannot be encoded or written.
        DiskFullError: there is no room; nothing half-written is left.
    """
    if _format(target) is None:
        raise PhotoError(f"{target.name} must end in .png, .jpg, .webp or .tif to be written.")
    data, notes = encode(_format(target), pixels, alpha, source, how or Saving(), texts or {})
    sha256 = hashlib.sha256(data).hexdigest()
    beside = target.with_name(f"{target.name}.json")
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        over = replace or _has(target, own)
        over_beside = replace or _belongs(beside, target)
        _refuse(target, over)
        with _temporary(target, data) as photo:
            if sidecar is None:
                before_rename(sha256)
            else:
                _refuse(beside, over_beside)
                facts = {"photo": target.name, "sha256": sha256, **sidecar}
                text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
                with _temporary(beside, text.encode()) as note:
                    before_rename(sha256)
                    _name(note, beside, over_beside)
            _name(photo, target, over)
        _flush_folder(target.parent)
    return Written(target, sha256, notes)


def delete_leftovers(folder: Path) -> int:
    """Delete what writers that died have left below a folder; nobody may be writing there.

    Returns:
        how many files there were.
    """
    leftovers = list(folder.rglob(f".*{TEMPORARY}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _format(path: Path) -> str | None:
    """The format to write by a name, None if that one is read only."""
    written = ("JPEG", "PNG", "TIFF", "WEBP")
    return next((kind for kind in written if path.suffix.lower() in FORMATS[kind]), None)


def _is_inside(target: Path, root: Path) -> bool:
    return target.parent.resolve().is_relative_to(root.resolve())


def _has(path: Path, sha256: str | None) -> bool:
    """Whether a file holds what one wrote."""
    if sha256 is None or not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _belongs(sidecar: Path, target: Path) -> bool:
    """Whether a sidecar says that it was written beside that photo."""
    try:
        facts = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("photo") == target.name and "sha256" in facts


def _refuse(path: Path, over: bool) -> None:
    if not over and os.path.lexists(path):
        raise PhotoError(
            f"{path} is there already and was not written by this job: "
            "move it, choose another suffix, or allow replacing."
        )


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Tell a full disk from every other reason why a photo is not written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(
                error.errno,
                f"There is no room for {target.name} in {target.parent}: make room and resume.",
            ) from error
        if error.errno is None:
            raise
        raise PhotoError(
            f"{target} cannot be written ({error.strerror}): look at its folder."
        ) from error


@contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[Path]:
    """A hidden file of these bytes in the target's folder, on the disk; gone if not renamed."""
    path = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _name(temporary: Path, target: Path, over: bool) -> None:
    """Give a file its name; one that came there meanwhile is replaced only if that is allowed."""
    if over:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, it fails where there is a file
    except FileExistsError:
        _refuse(target, over)
        raise
    except OSError:  # a file system without links
        _refuse(target, over)
        os.rename(temporary, target)


def _flush_folder(folder: Path) -> None:
    """Flush names to the disk, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
