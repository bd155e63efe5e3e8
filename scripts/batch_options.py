"""The options of `run.py batch`; standard library only, so that --help needs no environment."""

import argparse
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

HELP = "run a workflow on a folder of photos"
DESCRIPTION = """Run a workflow with a Job Photo and a Save Restored Photo node on a photo folder.

The workflow is a file saved by ComfyUI, with Workflow > Save or with Workflow > Export (API).
Without --server a ComfyUI of RestoreFlow's own does the work. A server on this machine reads and
writes the two folders itself; to any other one photos are uploaded, and results downloaded from it.
"""
DONE, FAILED, WRONG, STOPPED, PAUSED = 0, 1, 2, 3, 130
EXIT_CODES = """exit codes:
  0    every photo is done
  1    some photos failed, vanished meanwhile or could not be read at all; they are listed with
       their reasons (links that lead out of the folder are listed, too, but count for nothing)
  2    the command line, the workflow or a folder is wrong
  3    the server cannot be reached or stopped the job; the reason is printed
  130  paused by Ctrl-C

The same command goes on where it stopped, however that came; what is done is not done again.
"""


def declare(make: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The command line, made by whoever has a place for it."""
    parser = make(
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--workflow", type=Path, required=True, metavar="FILE", help="the workflow")
    add("--in", type=Path, required=True, metavar="DIR", dest="source", help="the photos' folder")
    add("--out", type=Path, required=True, metavar="DIR", dest="target", help="for the results")
    add("--server", type=address, metavar="URL", help="a running ComfyUI with RestoreFlow in it")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="assignments",
        help="set a widget; NODE is the node's id, title or type; may be given several times",
    )
    add("--retries", type=count, metavar="N", help="attempts after a photo's first one (2)")
    add("--limit", type=positive, metavar="N", help="a dry run on the first N photos")
    add("--retry-failed", action="store_true", help="try photos again that failed before")
    add("--json", metavar="FILE", help="write a summary as JSON; - for standard output")
    return parser


def address(text: str) -> str:
    """The address of a server, without a slash at its end."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text} is no address such as http://127.0.0.1:8188")
    return text.rstrip("/")


def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 on")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)
