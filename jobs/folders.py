"""The folders that jobs may read and write: the host's own, and those allowed on the machine.

Whoever reaches the host's address can name a path; only whoever can run a command on the machine
can allow one. The list is read anew for each question, so an allowed folder counts at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from .files import take_lock


def default_file() -> Path:
    """Where this user of the machine keeps the folders allowed by command, for any ComfyUI."""
    if home := os.environ.get("RESTOREFLOW_HOME"):
        return Path(home).expanduser() / "folders.json"
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "restoreflow" / "folders.json"


class FolderError(ValueError):
    """A folder that may not be used; one sentence says why and which command allows it."""


@dataclass(frozen=True)
class Allowed:
    """A folder with all below it, by its real path where it was allowed by command."""

    path: str
    write: bool


class Folders:
    """The allowed folders of one installation.

    Args:
        file: where those allowed by command are kept.
        always: the host's own, which need no command.
    """

    def __init__(self, file: Path, always: Sequence[Allowed] = ()) -> None:
        self.file, self.always = file, tuple(always)

    def list(self) -> list[Allowed]:
        """All allowed folders, the host's own first.

        Raises:
            FolderError: the file cannot be read.
        """
        always = [Allowed(os.path.realpath(one.path), one.write) for one in self.always]
        return [*always, *self._kept()]

    def allow(self, folder: str | Path, write: bool = False) -> Allowed:
        """Allow a folder that exists; allowing it again changes whether it may be written.

        Raises:
            FolderError: there is no such folder, or the list cannot be kept.
        """
        real = os.path.realpath(folder)
        if not os.path.isdir(real):
            raise FolderError(f"{folder} cannot be allowed: there is no such folder.")
        allowed = Allowed(real, write)
        with self._alone():
            self._keep([*self._others(real), allowed])
        return allowed

    def disallow(self, folder: str | Path) -> None:
        """Take back what was allowed by command, also for a folder that is gone.

        Raises:
            FolderError: it was not allowed by command.
        """
        real = os.path.realpath(folder)
        with self._alone():
            others = self._others(real)
            if len(others) == len(self._kept()):
                raise FolderError(
                    f"{folder} was not allowed by command, so there is nothing to undo."
                )
            self._keep(others)

    def resolve(self, path: str, write: bool = False) -> Path:
        """The real path of a folder or file that may be read, or written.

        Raises:
            FolderError: it is no full path, or lies in no folder that is allowed for it; whether
                there is anything at that place shows in nothing.
        """
        allowed = self.list()
        shares = {PureWindowsPath(one.path).drive.lower() for one in allowed}
        if why := refusal(path, type(Path()), shares, write):
            raise FolderError(why)
        try:
            real = os.path.realpath(path)
        except OSError as error:
            raise FolderError(outside(path, write)) from error
        around = [one for one in allowed if is_within(real, one)]
        if not around:
            raise FolderError(outside(path, write))
        if write and not any(one.write for one in around):
            raise FolderError(
                f"{path} may be read but not written; whoever sits at the machine can allow it "
                f"with: {command(path, write)}"
            )
        return Path(real)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else change the list meanwhile.

        Raises:
            FolderError: nothing can be written there.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lock = self.file.with_name(f"{self.file.name}.lock").open("a+b")
        except OSError as error:
            raise FolderError(f"{self.file} cannot be written ({error.strerror}).") from error
        with lock:
            with suppress(OSError):  # a disk without locks
                take_lock(lock.fileno())
            yield

    def _kept(self) -> list[Allowed]:
        try:
            entries = json.loads(self.file.read_text(encoding="utf-8"))["folders"]
            return [Allowed(str(entry["path"]), entry["write"] is True) for entry in entries]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FolderError(
                f"The list of allowed folders {self.file} cannot be read; mend or delete it."
            ) from error

    def _others(self, real: str) -> list[Allowed]:
        same = os.path.normcase(real)
        return [one for one in self._kept() if os.path.normcase(one.path) != same]

    def _keep(self, kept: Sequence[Allowed]) -> None:
        text = json.dumps({"folders": [asdict(one) for one in kept]}, indent=1)
        try:
            number, name = tempfile.mkstemp(dir=self.file.parent, prefix=f".{self.file.name}.")
            try:
                with open(number, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.file)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            why = error.strerror or error
            raise FolderError(f"{self.file} cannot be written ({why}).") from error


def refusal(
    path: str, flavour: type[PurePath], shares: set[str], write: bool = False
) -> str | None:
    """Why a text is no full path of this system, before any disk is touched; None if it is one.

    Args:
        flavour: the system's kind of path.
        shares: the drives and network shares of allowed folders, in lower case. Merely looking at
            another share would tell this machine's credentials to its server.
    """
    if not isinstance(path, str) or not path or any(ord(letter) < 32 for letter in path):
        return "This is no path of a folder."
    pure = flavour(path)
    if ".." in pure.parts:
        return f"{path} goes up by '..'; give the path without it."
    if not pure.is_absolute():
        return f"{path} is no full path; give it from the root of the disk."
    if not issubclass(flavour, PurePosixPath):
        if pure.drive.startswith(("\\\\?", "\\\\.")) or ":" in "".join(pure.parts[1:]):
            return f"{path} is a device or a stream, not a folder."
        if pure.drive.startswith("\\\\") and pure.drive.lower() not in shares:
            return outside(path, write)
    return None


def outside(path: str, write: bool) -> str:
    """The one sentence for whatever lies outside, there or not."""
    return (
        f"{path} is not in a folder that jobs may use; whoever sits at the machine can allow it "
        f"with: {command(path, write)}"
    )


def is_within(real: str, allowed: Allowed) -> bool:
    """Whether a real path is an allowed folder or lies below it.

    Folders are compared by their names and, because a disk may take two spellings for one, by what
    the disk itself says is the same. One that became a link since it was allowed counts no more.
    """
    root = allowed.path
    if os.path.realpath(root) != root:
        return False
    same, mark = os.path.normcase(root), _mark(root)
    return any(
        os.path.normcase(place) == same or (mark is not None and _mark(place) == mark)
        for place in (real, *map(str, PurePath(real).parents))
    )


def _mark(path: str) -> tuple[int, int] | None:
    """What tells a folder from any other on this machine; some network disks know no such thing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def command(path: str, write: bool) -> str:
    """The command that allows a folder, to be copied into a shell of this machine."""
    quoted = f'"{path}"' if os.name == "nt" else shlex.quote(path)
    return f"python run.py allow {quoted}{' --write' if write else ''}"
