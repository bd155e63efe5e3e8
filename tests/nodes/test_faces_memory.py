"""Eight faces of a 24-megapixel photo through the whole graph, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

WORK = """
import json, resource, sys, tempfile
from pathlib import Path

sys.path[:0] = [sys.argv[1], sys.argv[2]]
import conftest, environment
sys.path.insert(0, str(environment.comfyui()))
import comfy.options, utils.extra_config
comfy.options.enable_args_parsing(False)
from comfy.cli_args import args
args.cpu = True
import folder_paths, torch
from restoreflow import nodes
from fakes import published_mean_names, save, tiny_flow, tiny_mean
from onnx_files import spots, yunet

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024)

def first(node, *inputs):
    return node.execute(*inputs).args[0]

torch.set_num_threads(1)
torch.manual_seed(0)
nodes.host.register()
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    folder = Path(folder)
    (folder / nodes.faces.YUNET).write_bytes(yunet(spots(), 64, 64))
    parts = {"model.": tiny_flow(levels=3).state_dict(),
             "mmse_model.": published_mean_names(tiny_mean())}
    save(folder / "tiny.safetensors", parts)
    folder_paths.folder_names_and_paths["restoreflow"] = ([str(folder)], {".safetensors"})
    mean = first(nodes.load.LoadPosteriorMean, "tiny.safetensors")
    flow = first(nodes.load.LoadFlow, "tiny.safetensors")
    calls = {"mean": [], "flow": []}
    for name, part in (("mean", mean), ("flow", flow)):
        part.network.register_forward_pre_hook(
            lambda network, given, seen=calls[name]: seen.append(len(given[0])))
    photo = torch.rand(1, 4000, 6000, 3).mul_(0.5)
    for y in (1040, 2832):  # in cells of the detector's at a quarter of the size, and in no larger
        for x in (656, 1936, 3344, 4752):
            photo[:, y : y + 12, x : x + 12] = 1
    before = peak()
    faces = first(nodes.faces.DetectFaces, photo, 0.7, 80)
    crops = first(nodes.crops.AlignFaces, photo, faces, 512)
    faithful = first(nodes.restore.PosteriorMean, mean, crops)
    lifelike = first(nodes.restore.SampleImage, flow, faithful, 0, 3, 0.1, "euler")
    mixed = first(nodes.trade_off.TradeOff, faithful, lifelike, 0.5)
    result = first(nodes.crops.PasteFaces, photo, mixed, faces, "ellipse", True)
    print(json.dumps({"faces": len(faces), "bytes": peak() - before, **calls,
                      "changed": float((result != photo).any(-1).float().mean())}))
"""


def test_eight_faces_of_24_megapixels_are_one_batch_in_a_bounded_memory(nodes):
    pytest.importorskip("resource")
    run = subprocess.run(
        [sys.executable, "-c", WORK, str(TESTS), str(TESTS.parent / "scripts")],
        **{"cwd": TESTS.parent, "capture_output": True, "text": True},
    )
    assert run.returncode == 0, run.stderr
    measured = json.loads(run.stdout.splitlines()[-1])
    assert measured["faces"] == 8
    assert measured["mean"] == [8] and measured["flow"] == [8, 8, 8]
    assert measured["bytes"] < 1.5e9
    assert 0.02 < measured["changed"] < 0.2
