"""One step of a set-up: a command whose output goes to a log and whose progress goes to the screen.

When it fails, the end of its output is turned into one sentence that says what to do.
"""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

# What a log ends with when a step failed -> what was wrong and what to do.
CAUSES = (
    (
        r"No space left|Errno 28|not enough space|Disk quota",
        "the disk is full: free some space, or set RESTOREFLOW_HOME to a folder on another disk",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the package index shows a certificate that is not trusted here: "
        "set PIP_CERT to your network's certificate file",
    ),
    (
        r"NewConnectionError|NameResolutionError|Temporary failure in name|getaddrinfo failed"
        r"|ConnectTimeout|ReadTimeout|ProxyError|Connection refused|Connection reset|unreachable",
        "the package index cannot be reached: connect this machine to the network "
        "(behind a proxy, set HTTPS_PROXY) and run this again",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "the downloaded file is not the one that was tested: run this again, "
        "or set COMFYUI_PATH to a ComfyUI of your own",
    ),
    (
        r"No matching distribution found for (?P<package>\S+)",
        "the package index has no {package} for Python {version} on this machine: "
        "run this with another Python (3.11 to 3.13 have everything)",
    ),
    (
        r"subprocess-exited-with-error|Failed to build|Failed building wheel",
        "a package has no ready-made build for Python {version} on this machine: "
        "run this with another Python (3.11 to 3.13 have everything)",
    ),
    (
        r"DLL load failed",
        "Windows lacks a library that torch needs: "
        "install Microsoft's Visual C++ Redistributable (x64) and run this again",
    ),
)


class SetupError(Exception):
    """The set-up cannot go on; the message says in one sentence why and what to do."""


def variables() -> dict[str, str]:
    """The environment variables of this process without those that lead Python or pip elsewhere."""
    strays = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    kept = {name: value for name, value in os.environ.items() if name not in strays}
    return {**kept, "PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run_step(label: str, command: list[str | Path], log: Path) -> None:
    """Run a command to its end, showing `label` and the time; SetupError where it fails.

    The child inherits our open files: a lock that we hold is free only when the child has ended
    too, even if we were killed.
    """
    with open(log, "ab") as sink:
        sink.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        sink.flush()
        begin = sink.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=variables(),
            close_fds=False,
        )
    try:
        show_progress(label, process, log, begin)
    except BaseException:  # ctrl-C too: nothing goes on in the background
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise SetupError(f"{explain(read_from(log, begin))} (log: {log})")


def show_progress(label: str, process: subprocess.Popen, log: Path, begin: int) -> None:
    """Say what a step is doing and for how long: in place on a terminal, every 15 s elsewhere."""
    start, terminal = time.monotonic(), sys.stdout.isatty()
    print(label, end="" if terminal else "\n", flush=True)
    while process.returncode is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5 if terminal else 15)
        doing = {None: current_package(log, begin), 0: "done"}.get(process.returncode, "failed")
        state = f"{time.monotonic() - start:4.0f} s  {doing}"
        if terminal:
            print(f"\r{label}{state}".ljust(79)[:79], end="", flush=True)
        else:
            print(f"   {state}", flush=True)
    if terminal:
        print()


def current_package(log: Path, begin: int) -> str:
    """What pip's output, from `begin` in the log on, last spoke of."""
    doing = re.findall(
        r"^(?:Collecting [\w.-]+|Installing collected packages)", read_from(log, begin), re.M
    )
    return doing[-1] if doing else ""


def read_from(log: Path, begin: int) -> str:
    """The log's text from a position on."""
    with open(log, "rb") as source:
        source.seek(begin)
        return source.read().decode(errors="replace")


def explain(output: str) -> str:
    """The sentence for a failed step, from the end of its output."""
    lines = output.strip().splitlines() or ["it printed nothing"]
    for pattern, sentence in CAUSES:
        if found := re.search(pattern, "\n".join(lines[-25:])):
            return sentence.format(version=platform.python_version(), **found.groupdict())
    return f"the set-up met an error unknown to it, which its log shows in full: {lines[-1]}"
