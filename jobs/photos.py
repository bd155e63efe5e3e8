"""Photo files in and out, nothing lost: the one door to them for the other rooms.

A photo is written whole or not at all, as the module `files` has it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .encoding import Saving, encode
from .files import delete_leftovers
from .reading import LIMIT_PIXELS, read, readable, size
from .source import FORMATS, SUFFIXES, DiskError, Photo, PhotoError, Source

__all__ = [
    "LIMIT_PIXELS", "SUFFIXES", "DiskError", "HeldUpError", "Photo", "PhotoError",
    "Saving", "Source", "Written", "delete_leftovers", "read", "readable", "size", "target_path",
    "write",
]  # fmt: skip

FINAL = {
    errno.ENAMETOOLONG: "its name is too long: choose a shorter suffix, or rename the photo",
    errno.EISDIR: "there is a folder of that name: move it, or choose another suffix",
    errno.EEXIST: "there is a file where its folder would be: move it, or choose another folder",
    errno.ENOTDIR: "there is a file where its folder would be: move it, or choose another folder",
}
"""What no further attempt mends -> why, and what to do."""
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class HeldUpError(OSError):
    """No photo can be written there now, which is no fault of the photo: its job pauses.

    Its `strerror` is the sentence to show.
    """


@dataclass(frozen=True)
class Written:
    """A photo that has its name."""

    path: Path
    sha256: str
    notes: tuple[str, ...] = ()
    """What could not be carried into the file, each a sentence to show."""


def target_path(
    relative: Path, root: Path, how: Saving, suffix: str = "", whole: bool = False
) -> Path:
    """Where a photo of a folder is written: the same place under another root.

    Args:
        relative: the photo's path below its own folder.
        root: the folder to write into; symbolic links in it may not lead out of it.
        suffix: goes between the name and its extension, which stays if it is the format's.
        whole: keep the photo's own extension before the suffix, too.

    Raises:
        PhotoError: the place lies outside the root.
    """
    format = {"as the source": _format(relative) or "PNG"}.get(how.format, how.format.upper())
    ending = relative.suffix if relative.suffix.lower() in FORMATS[format] else FORMATS[format][0]
    name = f"{relative.name if whole else relative.stem}{suffix}{ending}"
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
    root: Path | None = None,
    before_rename: Callable[[str, Sequence[str]], None] = lambda sha256, notes: None,
    own: Callable[[], bool] = lambda: False,
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
        root: a folder around the target that is not made if it is not there.
        before_rename: called with the sha256 and the notes when the file lies on the disk and
            before it has its name; what it raises leaves the target untouched.
        own: asked, before the disk is touched, whether a file of that name is the caller's own and
            may be replaced; what it raises leaves everything untouched.
        replace: whether a foreign file may be.

    Raises:
        PhotoError: there is a foreign file, or the photo cannot be encoded.
        DiskError: the disk does not take it, which may pass.
        HeldUpError: the disk is full or takes nothing now; nothing half-written is left.
    """
    if _format(target) is None:
        raise PhotoError(f"{target.name} must end in .png, .jpg, .webp or .tif to be written.")
    data, notes = encode(_format(target), pixels, alpha, source, how or Saving(), texts or {})
    sha256 = hashlib.sha256(data).hexdigest()
    beside = target.with_name(f"{target.name}.json")
    with _told(target):
        over = own() or replace
        _make_folders(target.parent, root)
        over_beside = replace or _belongs(beside, target)
        _refuse(target, over)
        with _temporary(target, data) as photo:
            if sidecar is None:
                before_rename(sha256, notes)
            else:
                _refuse(beside, over_beside)
                facts = {"photo": target.name, "sha256": sha256, **sidecar}
                text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
                with _temporary(beside, text.encode()) as note:
                    before_rename(sha256, notes)
                    _name(note, beside, over_beside)
            _name(photo, target, over)
    return Written(target, sha256, notes)


def _format(path: Path) -> str | None:
    """The format to write by a name, None if that one is read only."""
    written = ("JPEG", "PNG", "TIFF", "WEBP")
    return next((kind for kind in written if path.suffix.lower() in FORMATS[kind]), None)


def _is_inside(target: Path, root: Path) -> bool:
    return target.parent.resolve().is_relative_to(root.resolve())


def _make_folders(folder: Path, root: Path | None) -> None:
    """Make a folder and those around it, but never its root: that one's disk may be away."""
    if root is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for part in reversed([one for one in (folder, *folder.parents) if root in one.parents]):
        part.mkdir(exist_ok=True)


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
            f"{path} is there already and is not what was made here of this photo: "
            "move it, choose another suffix, or allow replacing."
        )


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Tell a disk that takes nothing from one that did not take this photo."""
    try:
        yield
    except HeldUpError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        if error.errno in FULL:
            why = f"There is no room for {target.name} in {target.parent}: make room and resume."
            raise HeldUpError(error.errno, why) from error
        if error.errno == errno.EROFS:
            why = f"{target.parent} can only be read: have its disk writable and resume."
            raise HeldUpError(error.errno, why) from error
        if error.errno in FINAL:
            raise PhotoError(
                f"{target} cannot be written, because {FINAL[error.errno]}."
            ) from error
        raise DiskError(
            f"{target} cannot be written ({error.strerror}): look at its folder."
        ) from error


@contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[Path]:
    """A hidden file of these bytes in the target's folder, on the disk; gone if not renamed."""
    with files.temporary(target) as path:
        with open(path, "xb") as file:
            file.write(data)
            files.flush(file)
        yield path


def _name(temporary: Path, target: Path, over: bool) -> None:
    """Give a file its name; one that came there meanwhile is replaced only if that is allowed."""
    try:
        files.name(temporary, target, over)
    except FileExistsError:
        _refuse(target, over)
        raise
