"""Files that come whole or not at all: filled under a hidden name, flushed, then given their own.

A crash leaves the target as it was, and at most a file whose name ends in TEMPORARY, which
`delete_leftovers` removes.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".restoreflow-part"
"""How the names of files end that are being written."""
_LIVE: set[str] = set()
"""Those names that this process writes under now."""
_NAMING = threading.Lock()


@contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """A hidden name in a file's folder; what still has it at the end is deleted."""
    path = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
    _LIVE.add(path.name)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        _LIVE.discard(path.name)


def flush(file: BinaryIO) -> None:
    """Have a file's bytes on the disk."""
    file.flush()
    os.fsync(file.fileno())


def name(temporary: Path, target: Path, over: bool = False) -> None:
    """Give a file its name, on the disk.

    Args:
        over: whether a file of that name may be replaced.

    Raises:
        FileExistsError: there is one.
    """
    if over:
        os.replace(temporary, target)
    else:
        try:
            os.link(temporary, target)  # unlike a rename, it fails where there is a file
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with _NAMING:
                if os.path.lexists(target):
                    raise FileExistsError(f"{target} is there already") from None
                os.rename(temporary, target)
    _flush_folder(target.parent)


def take_lock(descriptor: int) -> None:
    """Wait until this process has the lock on an open file; closing the file gives it back."""
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        while True:
            with suppress(OSError):  # it gives up after ten seconds
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


def delete_leftovers(folder: Path) -> int:
    """Delete what writers that died have left below a folder; this process may be writing there.

    Returns:
        how many files there were.
    """
    count = 0
    for place, _, found in os.walk(folder):
        for file in found:
            if file.startswith(".") and file.endswith(TEMPORARY) and file not in _LIVE:
                with suppress(OSError):
                    os.unlink(os.path.join(place, file))
                    count += 1
    return count


def _flush_folder(folder: Path) -> None:
    """Flush names to the disk, where the system allows it."""
    with suppress(OSError):  # Windows opens no folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
