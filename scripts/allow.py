"""Which folders photo jobs may use besides ComfyUI's own: `run.py allow`. Standard library only."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import pack  # noqa: F401 - makes restoreflow importable
from restoreflow.jobs.folders import FolderError, Folders, default_file

HELP = "allow photo jobs a folder on this machine, or list those that are allowed"


def declare(make: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The command line, made by whoever has a place for it."""
    parser = make(
        description="Photo jobs may read and write ComfyUI's input and output folders, and those "
        "that are allowed here, with all below them; it counts at once, for any ComfyUI of yours."
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help="the folder; none lists them all")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--write", action="store_true", help="jobs may write into it, too")
    change.add_argument("--remove", action="store_true", help="take back what was allowed")
    change.add_argument("--list", action="store_true", help="say what is allowed, change nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Change the list, if asked to, and print it; a failure is one sentence."""
    parser = declare(partial(argparse.ArgumentParser, "run.py allow"))
    asked = parser.parse_args(arguments)
    if asked.folder == "" or (asked.folder is None and (asked.write or asked.remove)):
        parser.error("name the folder: run.py allow DIR")
    if asked.folder is not None and asked.list:
        parser.error("--list takes no folder")
    folders = Folders(default_file())
    try:
        if asked.folder is not None:
            change(folders, asked)
        tell(folders)
    except FolderError as error:
        sys.exit(f"allow: {error}")


def change(folders: Folders, asked: argparse.Namespace) -> None:
    """Allow the folder, or allow it no more, and say so."""
    if asked.remove:
        folders.disallow(asked.folder)
        print(f"Photo jobs may use {asked.folder} no more.\n")
        return
    allowed = folders.allow(asked.folder, asked.write)
    use = "read and write" if allowed.write else "read"
    print(f"Photo jobs may now {use} {allowed.path} and all below it.\n")


def tell(folders: Folders) -> None:
    """Print what is allowed by command."""
    kept = folders.list()
    none = "No folder is allowed by command."
    print(f"Allowed by command (kept in {folders.file}):" if kept else none)
    for allowed in kept:
        print(f"  {'read, write' if allowed.write else 'read':<11}  {allowed.path}")
    print("Besides, jobs may read and write the input and output folders of their ComfyUI.")
