"""RestoreFlow's front door on a fresh machine: `python run.py --help` lists what it does.

It needs Python 3.10 or newer and nothing else. The first run makes an environment of its own in
the user's cache folder (or in RESTOREFLOW_HOME), with a ComfyUI in it; later runs start at once.
COMFYUI_PATH names a ComfyUI to use instead; one in whose custom_nodes this folder lies is found.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - whoever has an older one deserves the sentence
    sys.exit("RestoreFlow needs Python 3.10 or newer: run this file with a newer Python.")

import argparse
import contextlib
import os
import subprocess
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

import allow
import batch_options
import bench_options
import comfyui
import environment
from setup_step import SetupError, variables

SCRIPTS = environment.SCRIPTS


def main() -> None:
    """Read the command line and do what it asks."""
    arguments, others = parser().parse_known_args()
    if others and arguments.command != "test":
        parser().error(f"unknown argument: {' '.join(others)}")
    try:
        if arguments.command == "serve":
            serve(arguments.port)
        elif arguments.command == "allow":
            allow.main(sys.argv[2:])
        else:
            is_piped = getattr(arguments, "json", None) == "-"
            with contextlib.redirect_stdout(sys.stderr if is_piped else sys.stdout):
                run_inside(SCRIPTS / arguments.script, sys.argv[2:])
    except SetupError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        sys.exit(batch_options.STOPPED if arguments.command == "batch" else 1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(batch_options.PAUSED)


def parser() -> argparse.ArgumentParser:
    """The command line; a command that works in the environment names its file in scripts/."""
    top = argparse.ArgumentParser(description="RestoreFlow with nothing to install first.")
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="restore real photos with the shipped workflow")
    demo.add_argument(
        "--all", action="store_true", help="the latent workflows, too, and the claims about them"
    )
    demo.set_defaults(script="demo.py")
    serve = commands.add_parser("serve", help="ComfyUI with RestoreFlow in it, for the browser")
    serve.add_argument("--port", type=int, default=8188, help="port on this machine (8188)")
    batch = batch_options.declare(partial(commands.add_parser, "batch", help=batch_options.HELP))
    batch.set_defaults(script="batch.py")
    allow.declare(partial(commands.add_parser, "allow", help=allow.HELP))
    test = commands.add_parser("test", help="the whole test suite; takes pytest's arguments")
    test.set_defaults(script="suite.py")
    bench = bench_options.declare(partial(commands.add_parser, "bench", help=bench_options.HELP))
    bench.set_defaults(script="bench.py")
    parity = commands.add_parser("parity", help="compare golden files with this implementation")
    parity.add_argument("file", nargs="+", help="a golden file; its metadata says what it holds")
    parity.set_defaults(script="parity.py")
    return top


def serve(port: int) -> None:
    """Run ComfyUI until it is stopped, reachable from this machine only."""
    comfyui.free_port(port)  # a taken port is said before a set-up of minutes
    installation = comfyui.find()
    folder = environment.home() / "serve"
    print("Starting ComfyUI ...", flush=True)
    with comfyui.Host(installation, folder, port, offline=False) as host:
        try:
            print(f"ComfyUI with RestoreFlow: {host.url}   (ctrl-C stops it)")
            print(f"Its input, output and models: {folder}; its log: {host.log}", flush=True)
            host.process.wait()
        except KeyboardInterrupt:
            return
    sys.exit(f"ComfyUI ended by itself: its log {host.log} says why")


def run_inside(script: Path, arguments: list) -> None:
    """Go on as `script` in RestoreFlow's environment, with its exit code as ours."""
    environment.ensure()
    command = [str(environment.python()), str(script), *arguments]
    sys.stdout.flush()
    if os.name == "posix":  # the same process, so whoever stops us stops the script
        os.execve(command[0], command, variables())
    process = subprocess.Popen(command, env=variables())
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt:  # the script has had it too and is ending
            continue
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
