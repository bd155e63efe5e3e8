"""A folder's photos, in the order in which a person counts them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG

SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "lost+found"),
    *("@eadir", "#recycle", "$recycle.bin", "system volume information"),
}
"""Names, casefolded, that an operating system or a network store leaves among photos."""
LINK = "it is a link that leads out of the folder"
"""Why it is left out: what lies elsewhere is no photo of the folder."""
HIDDEN = 0x2 | 0x4  # Windows' attributes: hidden, system


@dataclass(frozen=True, slots=True)
class Found:
    """A photo's file: its path from the root with `/`, size in bytes and time of change."""

    path: str
    size: int
    mtime_ns: int


def ignore(*_: object) -> None:
    pass


def scan(
    root: Path,
    suffixes: Collection[str],
    *,
    without: Path | None = None,
    trouble: Callable[[str, str], None] = ignore,
) -> Iterator[Found]:
    """The photos below a folder, one by one; only one folder's names are held at a time and depth.

    A link to a file counts where that file lies below the root, too. A link to a folder is never
    followed: outside the root it would leave it, and inside its photos are found at their place.
    A link out of the root is told, one to nothing is nothing.

    Args:
        suffixes: those of photos, in lower case and with their dot.
        without: a folder that is passed over, as the one that the results go to.
        trouble: called with a path and a reason for each thing that had to be left out.
    """
    top = os.path.realpath(root)

    def below(folder: str, prefix: str) -> Iterator[Found]:
        try:
            with os.scandir(folder) as entries:
                names = [entry for entry in entries if not is_hidden(entry.name)]
        except OSError as error:
            trouble(prefix or ".", f"the folder cannot be read ({error.strerror})")
            return
        for entry in sorted(names, key=lambda entry: natural_key(entry.name)):
            path = prefix + entry.name
            try:
                path.encode()
                status = entry.stat()
                if getattr(status, "st_file_attributes", 0) & HIDDEN:
                    continue
                if S_ISDIR(status.st_mode):
                    # A junction of Windows is no symlink, but its real path tells it as well.
                    real = os.path.realpath(entry.path)
                    if without is not None and are_same(entry.path, without):
                        continue
                    if real == entry.path:
                        yield from below(entry.path, f"{path}/")
                    elif leads_out(real):
                        trouble(path, LINK)
                elif S_ISREG(status.st_mode) and is_photo(entry.name):
                    if entry.is_symlink() and leads_out(os.path.realpath(entry.path)):
                        trouble(path, LINK)
                    else:
                        yield Found(path, status.st_size, status.st_mtime_ns)
            except UnicodeEncodeError:
                trouble(ascii(path), "the name is not Unicode")
            except OSError as error:
                if not entry.is_symlink():  # a link to nothing is nothing
                    trouble(path, f"it cannot be read ({error.strerror})")

    def is_photo(name: str) -> bool:
        return os.path.splitext(name)[1].lower() in suffixes

    def leads_out(real: str) -> bool:
        return real != top and not _is_below(real, top)

    return below(top, "")


def left_out(troubles: Sequence[tuple[str, str]]) -> str | None:
    """What a scan has told as trouble, in a sentence."""
    if not troubles:
        return None
    shown = "; ".join(f"{path}: {why}" for path, why in troubles[:5])
    count = f"{len(troubles)} things were" if troubles[1:] else "1 thing was"
    return f"{count} left out: {shown}{' ...' if troubles[5:] else ''}."


def lost(troubles: Sequence[tuple[str, str]]) -> int:
    """How many of them may be photos of the folder."""
    return sum(why != LINK for _, why in troubles)


def natural_key(path: str) -> str:
    """A text that sorts as a person does: img2 before img10, in any case; folder by folder.

    Each number is written behind its length, so that comparing texts compares numbers; the name as
    it is follows, so that no two paths are equal and the order never depends on the disk's.
    """
    keys = (f"{_DIGITS.sub(_counted, name.casefold())}\2{name}" for name in path.split("/"))
    return "\1".join(keys)


_DIGITS = re.compile(r"\d+")


def _counted(digits: re.Match) -> str:
    number = digits[0].lstrip("0")
    return f"{len(number):03}{number}"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's or was meant not to be seen, by its name."""
    return name.startswith(".") or name.casefold() in SYSTEM


def folded(path: str) -> str:
    """The same for paths that some disk takes for one: in any case, and however accents are put."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def stem(path: str) -> str:
    """A photo's path without its suffix, folded: photos of one stem may get one name as results."""
    return folded(str(PurePosixPath(path).with_suffix("")))


def are_same(path: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file or folder; none leads to what is not there."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _is_below(path: str, top: str) -> bool:
    return os.path.normcase(path).startswith(os.path.join(os.path.normcase(top), ""))
