"""The token of a server on this machine: who can read it is the user that the server runs as.

The server says where the file lies, and whoever listens on a port of this machine may say anything.
So nothing is read, and nothing sent back, but from a file that can only be such a token.
"""

import os
import re
import stat
from pathlib import Path

NAME = "token"
DIGITS = 64


class TokenError(Exception):
    """The file that the server names is no token of this user's; one sentence says why."""


def read(file: Path) -> str | None:
    """The token in a file; None where there is no such file, as for a server in a container.

    Raises:
        TokenError: it is not this user's, or no token.
    """
    if file.name != NAME or not file.is_absolute():
        raise TokenError(f"the server names {file} as its token, which is no such file's name")
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))
    try:
        descriptor = os.open(file, os.O_RDONLY | sum(flags))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenError(
            f"the server's token {file} cannot be read ({error.strerror}): "
            "use a ComfyUI that runs as you, not as another user"
        ) from error
    try:
        if why := objection(os.fstat(descriptor)):
            raise TokenError(f"the server's token {file} {why}: it is not trusted")
        content = os.read(descriptor, DIGITS + 1)
    finally:
        os.close(descriptor)
    if not re.fullmatch(rb"[0-9a-f]{%d}" % DIGITS, content):
        raise TokenError(
            f"{file} does not hold a token of {DIGITS} digits: it is not sent anywhere"
        )
    return content.decode()


def objection(status: os.stat_result) -> str | None:
    """Why an open file cannot be the token."""
    if not stat.S_ISREG(status.st_mode):
        return "is no plain file"
    if os.name != "posix":  # Windows keeps the user's folders from others by their own rights
        return None
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if stat.S_IMODE(status.st_mode) != 0o600:
        return "can be read by others"
    return None
