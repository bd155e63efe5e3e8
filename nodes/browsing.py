"""The allowed folders over HTTP: looking into them, and putting photos into one of the host's."""

import asyncio
import filecmp
import os
import re
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import folder_paths
from aiohttp import web

from ..jobs import files, photos
from ..jobs.folders import is_within
from ..jobs.scan import is_hidden, natural_key, scan
from . import jobs
from .calls import Call, RefusedError, allowed

MOST = 100_000
"""Photos that are counted."""
LEFT_OUT = 5
"""Of the things that could not be read, so many are told."""
SIMPLE = {"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
"""The content types that any page may send to any host without being asked first."""
FORBIDDEN = {chr(number) for number in (*range(32), 127)} | {"\\"}
FORBIDDEN_BY_WINDOWS = set('<>:"|?*')
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\.|$)", re.IGNORECASE)
"""What a name begins with that Windows gives to a device, whatever its suffix is."""
CHUNK = 1 << 20


def roots(call: Call) -> dict:
    """GET /folders: those that everything else lies in."""
    own = {
        os.path.realpath(folder_paths.get_input_directory()): "input",
        os.path.realpath(folder_paths.get_output_directory()): "output",
    }
    return {
        "roots": [
            {
                "name": own.get(one.path) or Path(one.path).name or one.path,
                "path": one.path,
                "write": one.write,
            }
            for one in jobs.folders().list()
        ]
    }


def inside(call: Call) -> dict:
    """GET /folders/inside: the folders in one, as a scan goes into them, and its own photos."""
    folder = there(call, call.request.query.get("path"))
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_hidden(entry.name)]
    except OSError as error:
        raise RefusedError(400, f"{folder} cannot be read ({error.strerror}).") from error
    below = [entry for entry in entries if entry.is_dir() and _is_no_link(entry)]
    is_root = not any(is_within(str(folder.parent), one) for one in jobs.folders().list())
    return {
        "path": str(folder),
        "parent": None if is_root else str(folder.parent),
        "folders": [
            {"name": entry.name, "path": entry.path}
            for entry in sorted(below, key=lambda entry: natural_key(entry.name))
        ],
        "photos": sum(
            photos.readable(Path(entry.name)) and entry.is_file(follow_symlinks=False)
            for entry in entries
        ),
    }


def total(call: Call) -> dict:
    """GET /folders/count: what a job would find in a folder."""
    query = call.request.query
    folder = there(call, query.get("path"))
    without = call.folder(query["without"]) if query.get("without") else None
    left_out: list[tuple[str, str]] = []

    def leave_out(path: str, why: str) -> None:
        if len(left_out) < LEFT_OUT:
            left_out.append((path, why))

    found = scan(folder, photos.SUFFIXES, without=without, trouble=leave_out)
    number = size = 0
    for photo in islice(found, MOST):
        number, size = number + 1, size + photo.size
    is_all = number < MOST or next(found, None) is None
    return {"count": number, "bytes": size, "left_out": left_out, "complete": is_all}


def there(call: Call, path: str | None) -> Path:
    """The real path of a folder that the call may use and that exists."""
    folder = call.folder(path)
    if not folder.is_dir():
        raise RefusedError(400, f"There is no folder {folder}.")
    return folder


def _is_no_link(entry: os.DirEntry) -> bool:
    """Neither a symbolic link nor a junction of Windows."""
    return os.path.realpath(entry.path) == entry.path


async def drop(request: web.Request) -> web.Response:
    """POST /drop: a photo's bytes, kept below the host's input folder under a name not taken.

    Sent again, they are answered as the file that they are already: who was interrupted may begin
    anew.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in SIMPLE:
        raise RefusedError(415, "A photo is sent with the content type application/octet-stream.")
    path = request.query.get("path", "")
    batch, place = names(request.query.get("batch", ""), 1), names(path, 20)
    if not photos.readable(Path(place[-1])):
        raise RefusedError(400, f"{path} is no photo by its name.")
    top = jobs.drop_folder().joinpath(*batch)
    try:
        folder, target = await asyncio.to_thread(_made, top, place)
        written = await _received(request, target)
    except (ConnectionError, web.RequestPayloadError) as error:
        raise RefusedError(400, f"{path} did not arrive whole; send it again.") from error
    except OSError as error:
        if error.errno in photos.FULL:
            raise
        raise RefusedError(400, f"{path} cannot be kept ({error.strerror}).") from error
    path = written.relative_to(folder).as_posix()
    return web.json_response({"folder": str(folder), "path": path})


async def _received(request: web.Request, target: Path) -> Path:
    """Write a request's body piece by piece; the file has its name only when it is whole."""
    with files.temporary(target) as part:
        with await asyncio.to_thread(open, part, "xb") as file:
            async for chunk in request.content.iter_chunked(CHUNK):
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(files.flush, file)
        return await asyncio.to_thread(_named, part, target)


def names(path: str, most: int) -> list[str]:
    """The names of a path with `/`, if this system takes them and no scan passes them over.

    Raises:
        RefusedError: they are more than `most`, or one will not do.
    """
    found = path.split("/")
    if len(found) > most or not all(map(_is_plain, found)):
        raise RefusedError(400, f"{path!r:.200} cannot be the name of a photo or a folder here.")
    return found


def _is_plain(name: str) -> bool:
    if not name or is_hidden(name) or FORBIDDEN & set(name):  # `.` and `..` are hidden
        return False
    try:
        is_short = len(name.encode()) <= 250
    except UnicodeEncodeError:
        return False
    odd = FORBIDDEN_BY_WINDOWS & set(name) or name[-1] in ". " or DEVICE.match(name)
    return is_short and not (os.name == "nt" and odd)


def _made(top: Path, parts: list[str]) -> tuple[Path, Path]:
    """The real folder of a batch, and the place of a photo in it, whose folder is made.

    Raises:
        RefusedError: a link there leads to where nothing may be written.
    """
    folder = allowed(str(top), write=True)
    place = allowed(str(folder.joinpath(*parts[:-1])), write=True)
    if not place.is_relative_to(folder):
        raise RefusedError(400, f"{place} is not in this batch.")
    place.mkdir(parents=True, exist_ok=True)
    return folder, place / parts[-1]


def _named(part: Path, target: Path) -> Path:
    """Give a file its name, or the next one like it that is free or has this very content.

    None is ever written over.
    """
    if not part.stat().st_size:
        raise RefusedError(400, f"{target.name} arrived empty; send it again.")
    for name in _like(target.stem, target.suffix):
        place = target.with_name(name)
        try:
            files.name(part, place)
        except FileExistsError:
            if not _is_same(part, place):
                continue
        return place
    raise AssertionError


def _is_same(part: Path, place: Path) -> bool:
    """Whether a file has the content of another; where a link leads is not for everybody to ask."""
    is_file = place.is_file() and not place.is_symlink()
    return is_file and filecmp.cmp(part, place, shallow=False)


def _like(stem: str, suffix: str) -> Iterator[str]:
    yield f"{stem}{suffix}"
    yield from (f"{stem} ({number}){suffix}" for number in count(2))
