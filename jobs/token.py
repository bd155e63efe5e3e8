"""The token of this machine: who can read its file is the user whose ComfyUI this is."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path


def token_file(folder: Path) -> Path:
    """The token's file in a folder, made anew unless it is whole and for its owner's eyes only."""
    file = folder / "token"
    if _content(file) is None:
        folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=folder, prefix=".token.")  # of mode 0600
        try:
            with open(number, "w", encoding="ascii") as new:
                new.write(secrets.token_hex(32))
            os.replace(name, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    return file


def fits(folder: Path, offered: str) -> bool:
    """Whether somebody has read the token in a folder."""
    known = _content(folder / "token")
    return known is not None and hmac.compare_digest(
        known.encode(), offered.encode(errors="surrogateescape")
    )


def _content(file: Path) -> str | None:
    """What a file says, if it is a token that nobody else can have read."""
    try:
        with open(file, encoding="ascii") as data:
            mode, text = os.fstat(data.fileno()).st_mode, data.read(100)
    except (OSError, ValueError):
        return None
    is_private = os.name == "nt" or not mode & 0o077  # Windows says who may read elsewhere
    return text if is_private and re.fullmatch("[0-9a-f]{64}", text) else None
