"""The photo jobs of this host: one engine, with the photos that it reads and writes ahead."""

import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import folder_paths
from torch import Tensor

from ..jobs import photos
from ..jobs.engine import Engine
from ..jobs.folders import Allowed, Folders, default_file
from ..jobs.graph import without_photos
from ..jobs.ledger import Ledger
from ..jobs.naming import result_path
from ..jobs.overlap import Announce, Reader, Writer, is_final
from . import photo_files
from .photo_files import Carried, Choices, Opened
from .queue_port import HostQueue

USER_FOLDER = "__restoreflow"
"""In the host's user folder; hosts serve nothing of names that begin so to any browser."""


def user_folder() -> Path:
    """Where the pack keeps what is the user's: the ledger of jobs, the token of this machine."""
    return Path(folder_paths.get_user_directory(), USER_FOLDER)


def drop_folder() -> Path:
    """Where photos lie that were dropped on the tab, in a folder each time."""
    return Path(folder_paths.get_input_directory(), "restoreflow")


def folders() -> Folders:
    """The folders that jobs may use."""
    own = (folder_paths.get_input_directory(), folder_paths.get_output_directory())
    return Folders(default_file(), [Allowed(folder, write=True) for folder in own])


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The jobs of this host; nothing runs and nothing is opened before the first one asks."""
    ledger = Ledger(user_folder() / "jobs.sqlite")
    return Engine(ledger, HostQueue(), photos, prefetch=_prepare, drop=drop_folder())


def _prepare(rows: Sequence[int]) -> None:
    """Have the next photos read, and keep the host's collections of garbage short meanwhile.

    Every ten seconds the host looks at all objects that there are, some 0.2 s in which no network
    runs. Those that were there before a job are passed over until it has no more photos.
    """
    reader().expect(rows)
    if not rows:
        gc.unfreeze()
    elif not gc.get_freeze_count():
        gc.freeze()


@lru_cache(maxsize=1)
def reader() -> Reader[Opened]:
    """Reads the jobs' next photos while the network works."""
    return Reader(_read, lambda opened: opened.pixels.nbytes)


@lru_cache(maxsize=1)
def writer() -> Writer:
    """Encodes and writes the jobs' last results while the network works."""
    return Writer(engine())


def _read(row: int) -> Opened:
    entry = engine().ledger.photo(row)
    source = engine().ledger.job(entry.job).source
    file = source / entry.path
    if not Path(os.path.realpath(file)).is_relative_to(source):
        raise photos.PhotoError(f"{entry.path} leads out of its folder by a link: copy the photo.")
    return photo_files.opened(file, entry.path, row)


def take(asker: str, rows: Sequence[int]) -> list[Opened]:
    """The photos that a job's prompt is for.

    Args:
        asker: what only the engine's own prompt can show; any other could name any photo.

    Raises:
        PhotoError: the prompt is not a job's, or one cannot be read, which its job has been told.
    """
    _expect(asker, rows)
    found = []
    for row in rows:
        try:
            one = reader().take(row)
        except (photos.PhotoError, OSError) as error:
            engine().failed(row, str(error), is_final(error))
            raise
        height, width = one.pixels.shape[:2]
        engine().opened(row, one.carried.sha256, width, height, one.notes)
        found.append(replace(one, carried=replace(one.carried, asker=asker)))
    return found


def save(carried: Sequence[Carried], image: Tensor, choices: Choices, node: str) -> None:
    """Leave the results [B, H, W, C] of a job's photos to the background.

    Raises:
        PhotoError: the prompt is not a job's.
    """
    for one, picture in zip(carried, image, strict=True):
        _expect(one.asker, [one.row])
        _put(one, picture, choices, node)


def _expect(asker: str, rows: Sequence[int]) -> None:
    if not rows or not engine().flights.are_for(asker, rows):
        raise photos.PhotoError("Only a running job asks for photos by their numbers: start one.")


def _put(carried: Carried, picture: Tensor, choices: Choices, node: str) -> None:
    ledger = engine().ledger
    photo = ledger.photo(carried.row)
    job = ledger.job(photo.job)

    def write(announce: Announce) -> None:
        target = result_path(ledger, photo, job, node, choices.how, choices.suffix)
        place = target.relative_to(job.target).as_posix()
        graph, workflow = without_photos(job.graph), ledger.workflow(job.id)
        more = {
            "root": job.target,
            "own": partial(engine().own, photo.id, place, node, choices.replace),
            "before_rename": partial(announce, place),
        }
        photo_files.write(target, carried, picture, choices, graph, workflow, **more)

    writer().put(photo.id, node, write)


def rank(carried: Carried) -> int:
    """A job's photo's number in its folder, from 0."""
    ledger = engine().ledger
    return ledger.rank(ledger.photo(carried.row))
