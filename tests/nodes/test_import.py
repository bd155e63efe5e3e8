"""Loading the pack registers nodes and a folder, and does nothing else."""

import subprocess
import sys

import environment
import pytest

SCRIPT = """
import sys, sysconfig, threading
sys.path.insert(0, {comfyui!r})
import comfy.options
import utils.extra_config
comfy.options.enable_args_parsing(False)
from comfy.cli_args import args
args.cpu = True
import torch, server, comfy_api.latest, nodes as core

sys.path.remove({comfyui!r})
from types import ModuleType, SimpleNamespace
pack = ModuleType("restoreflow")
pack.__path__ = [{root!r}]
sys.modules["restoreflow"] = pack

def seen(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
        happened.append((event, arguments[0]))
    homes = ({root!r}, sysconfig.get_path("stdlib"))
    looks_for_modules = event == "os.listdir" and str(arguments[0]).startswith(homes)
    if event.split(".")[0] in ("socket", "subprocess", "os") and not looks_for_modules:
        happened.append((event, arguments))

from aiohttp import web
app = SimpleNamespace(frozen=False, on_response_prepare=[], on_startup=[])
server.PromptServer.instance = SimpleNamespace(app=app, routes=web.RouteTableDef())
happened, modules = [], {{name.split(".")[0] for name in sys.modules}}
threads, state = threading.active_count(), torch.get_rng_state()
sys.dont_write_bytecode = True
sys.addaudithook(seen)
from restoreflow.nodes import comfy_entrypoint

def finish(coroutine):  # an event loop opens sockets of its own; what never waits needs none
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value

nodes = finish(finish(comfy_entrypoint()).get_node_list())
for node in nodes:
    node.GET_SCHEMA()  # as the host does when it loads a pack
assert nodes
assert not happened, happened
assert threading.active_count() == threads
assert torch.equal(torch.get_rng_state(), state)
packages = {{name.split(".")[0] for name in sys.modules}} - {{"restoreflow"}}
assert not packages - modules - set(sys.stdlib_module_names), packages - modules
"""


def test_loading_does_nothing_but_register():
    if not environment.is_complete():
        pytest.skip("ComfyUI's source is there in the environment of `run.py test` only")
    script = SCRIPT.format(comfyui=str(environment.comfyui()), root=str(environment.SCRIPTS.parent))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "restoreflow" not in run.stdout.lower()
