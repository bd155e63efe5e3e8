"""Start and stop a real ComfyUI with this pack in it, without a screen. Standard library only.

The host's folders (input, output, models, ...) are always ours, so a user's own ComfyUI serves as
source and Python only and is never changed.
"""

import collections
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import environment
from client import LOOPBACK
from setup_step import SetupError, variables

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")
START_SECONDS = 240  # a first start compiles every module, on a busy machine slowly
ACCELERATOR = (
    "import torch; a = getattr(torch, 'accelerator', None); "
    "print((a or torch.cuda).is_available() or torch.backends.mps.is_available())"
)


class Installation(NamedTuple):
    """A ComfyUI: its source and the Python that runs it."""

    source: Path
    python: Path


def find() -> Installation:
    """The user's ComfyUI (COMFYUI_PATH, or the one this pack lies in), else our environment's."""
    source = users_source()
    if source is None:
        environment.ensure()
        return Installation(environment.comfyui(), environment.python())
    python = users_python(source)
    if python is None:
        environment.ensure()
    return Installation(source, python or environment.python())


def users_source() -> Path | None:
    """The folder of the user's own ComfyUI, if there is one."""
    if chosen := os.environ.get("COMFYUI_PATH"):
        source = Path(chosen).expanduser().resolve()
        if not (source / "main.py").is_file():
            raise SetupError(
                f"COMFYUI_PATH is {source}, which holds no main.py: "
                "set it to ComfyUI's folder, or unset it to use a ComfyUI of RestoreFlow's own"
            )
        return source
    above = ROOT.parent
    lies_in_one = above.name == "custom_nodes" and (above.parent / "main.py").is_file()
    return above.parent if lies_in_one else None


def users_python(source: Path) -> Path | None:
    """The Python that belongs to a user's ComfyUI: a virtual environment in it, or the portable."""
    places = (source / "venv", source / ".venv", source.parent / "venv", source.parent / ".venv")
    candidates = [place / part for place in places for part in ("bin/python", "Scripts/python.exe")]
    candidates.append(source.parent / "python_embeded" / "python.exe")
    return next((path for path in candidates if path.is_file()), None)


class Host:
    """A running ComfyUI; a context manager that stops it."""

    def __init__(
        self,
        installation: Installation,
        folder: Path,
        port: int = 0,
        offline: bool = True,
        front_end: Path | None = None,
    ) -> None:
        """Start it in `folder` on a port (0 = any free one) of this machine's loopback.

        `front_end` holds the static files of another front end than its own.
        """
        self.installation = installation
        self.folder = folder
        self.front_end = front_end
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "comfyui.log"
        prepare(folder, installation.source)
        flags = {"HF_HUB_OFFLINE": "1"} if offline else {}
        if installation.source != environment.comfyui():
            flags["PYTHONDONTWRITEBYTECODE"] = "1"  # the user's ComfyUI stays as it is
        with open(self.log, "wb") as sink:
            self.process = subprocess.Popen(
                self.command(),
                cwd=installation.source,
                env={**variables(), **flags},
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is ours to pass on, once we have tidied up
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self) -> list[str | Path]:
        """The command line of a headless ComfyUI on this machine."""
        source, python = self.installation
        return [
            *(python, "-u", Path(__file__).with_name("host_process.py"), source / "main.py"),
            *("--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", self.folder),
            *("--database-url", "sqlite:///:memory:", "--preview-method", "auto"),
            *("--disable-auto-launch", "--disable-api-nodes"),
            *(("--front-end-root", self.front_end) if self.front_end else ()),
            *(() if has_accelerator(python) else ("--cpu",)),
        ]

    def wait_until_ready(self) -> None:
        """Return when it answers; SetupError when it ends first or takes too long."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise SetupError(self.explain_end())
            with contextlib.suppress(OSError), LOOPBACK.open(f"{self.url}/system_stats", timeout=5):
                return
            time.sleep(0.2)
        raise SetupError(f"ComfyUI did not answer within {START_SECONDS} s: read {self.log}")

    def explain_end(self) -> str:
        """Why it ended before it was ready, from its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        source, python = self.installation
        if missing := re.search(r"No module named '([\w.]+)'", "\n".join(lines[-5:])):
            return (
                f"{python} lacks the package {missing[1]} that the ComfyUI in {source} needs: "
                f"run '{python} -m pip install -r {source / 'requirements.txt'}'"
            )
        tail = "\n  ".join(collections.deque(lines, 15))
        return f"ComfyUI ended before it was ready: its log {self.log} says\n  {tail}"

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port(wanted: int) -> int:
    """`wanted`, or for 0 any free port of the loopback; SetupError where it is taken."""
    with socket.socket() as probe:
        if os.name != "nt":  # a port whose last connection has just closed is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError) as error:
            raise SetupError(
                f"port {wanted} cannot be used ({error}): choose another with --port"
            ) from error
        return probe.getsockname()[1]


def prepare(folder: Path, source: Path) -> None:
    """Make the host's folders, with this pack and ComfyUI's example picture in them."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    example = source / "input" / "example.png"
    if example.is_file():
        shutil.copy(example, folder / "input")
    pack = folder / "custom_nodes" / "restoreflow"
    if pack.exists() and pack.samefile(ROOT):
        return
    pack.unlink(missing_ok=True)  # a link to where the pack lay before
    link(pack, ROOT)


def share(folder: Path, place: Path) -> None:
    """Let `place` lead to a folder, which is made; a folder with something in it stays itself."""
    folder.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()  # it may lead to where the folder lay before
    with contextlib.suppress(OSError):
        place.rmdir()
    if not place.exists():
        link(place, folder)


def link(place: Path, folder: Path) -> None:
    """Let `place` lead to a folder."""
    try:
        place.symlink_to(folder, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        link_without_privilege(place, folder)


def link_without_privilege(place: Path, folder: Path) -> None:
    """Windows lets every user make junctions, but few make symbolic links."""
    import _winapi

    _winapi.CreateJunction(str(folder), str(place))


def has_accelerator(python: Path) -> bool:
    """Whether the torch of that Python finds a GPU: ComfyUI wants to be told where it does not."""
    answer = subprocess.run(
        [python, "-c", ACCELERATOR], capture_output=True, text=True, env=variables()
    )
    return answer.stdout.strip() == "True"
