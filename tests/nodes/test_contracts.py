"""What every node promises to the person who drags it."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PASSES_ON = {
    "RestoreFlowPosteriorMean": "image",
    "RestoreFlowSampleImage": "image",
    "RestoreFlowTradeOff": "faithful",
    "RestoreFlowApplyDegradation": "image",
    "RestoreFlowPosteriorMeanLatent": "latent",
    "RestoreFlowSampleLatent": "latent",
    "RestoreFlowSaveRestoredPhoto": "image",
    "RestoreFlowSelectFaces": "faces",
    "RestoreFlowAlignFaces": "image",
    "RestoreFlowPasteFaces": "image",
    "RestoreFlowFacesFromPoints": "faces",
    "RestoreFlowPlotTradeOff": "points",
    "RestoreFlowMapUncertainty": "image",
    "RestoreFlowPickSample": "samples",
    "RestoreFlowSweepTradeOff": "faithful",
    "RestoreFlowApplyTransport": "latent",
    "RestoreFlowApplyTransportImage": "image",
    "RestoreFlowSaveTransport": "transport",
    "RestoreFlowChainDegradations": "first",
    "RestoreFlowFlowMapDenoise": "image",
    "RestoreFlowPlugAndPlay": "image",
}
"""What a bypassed node passes through: the first input of its output's type."""


@pytest.fixture
def schemas(nodes, host):
    return {node: node.define_schema() for node in nodes.NODES}


def test_ids_are_frozen(schemas):
    assert [schema.node_id for schema in schemas.values()] == [
        "RestoreFlowLoadPosteriorMean",
        "RestoreFlowLoadFlow",
        "RestoreFlowPosteriorMean",
        "RestoreFlowSampleImage",
        "RestoreFlowTradeOff",
        "RestoreFlowLoadDegradation",
        "RestoreFlowApplyDegradation",
        "RestoreFlowLoadRestorationVAE",
        "RestoreFlowEncode",
        "RestoreFlowDecode",
        "RestoreFlowPosteriorMeanLatent",
        "RestoreFlowSampleLatent",
        "RestoreFlowJobPhoto",
        "RestoreFlowSaveRestoredPhoto",
        "RestoreFlowBeforeAfter",
        "RestoreFlowDetectFaces",
        "RestoreFlowSelectFaces",
        "RestoreFlowAlignFaces",
        "RestoreFlowPasteFaces",
        "RestoreFlowFacesFromPoints",
        "RestoreFlowFacesFromLandmarks",
        "RestoreFlowCompareToReference",
        "RestoreFlowJudgeWithoutReference",
        "RestoreFlowCompareFolders",
        "RestoreFlowPlotTradeOff",
        "RestoreFlowMapUncertainty",
        "RestoreFlowPickSample",
        "RestoreFlowSweepTradeOff",
        "RestoreFlowFitTransport",
        "RestoreFlowApplyTransport",
        "RestoreFlowApplyTransportImage",
        "RestoreFlowSaveTransport",
        "RestoreFlowLoadTransport",
        "RestoreFlowBlur",
        "RestoreFlowDownscale",
        "RestoreFlowMask",
        "RestoreFlowColorize",
        "RestoreFlowClip",
        "RestoreFlowJPEG",
        "RestoreFlowNoise",
        "RestoreFlowChainDegradations",
        "RestoreFlowFlowMapDenoise",
        "RestoreFlowPlugAndPlay",
    ]


def test_inputs_are_frozen_and_only_appended(schemas):
    inputs = {s.node_id: [i.id for i in s.inputs] for s in schemas.values()}
    assert inputs["RestoreFlowLoadPosteriorMean"][:3] == ["weights", "precision", "ema"]
    assert inputs["RestoreFlowLoadFlow"][:3] == ["weights", "precision", "ema"]
    assert inputs["RestoreFlowPosteriorMean"][:2] == ["posterior_mean", "image"]
    assert inputs["RestoreFlowSampleImage"][:9] == [
        *("flow", "image", "seed", "steps", "source_noise", "solver", "mask"),
        *("stop_after", "tile"),
    ]
    assert inputs["RestoreFlowTradeOff"][:5] == [
        *("faithful", "lifelike", "realism", "at_most", "faithful_psnr"),
    ]
    assert inputs["RestoreFlowSweepTradeOff"][:3] == ["faithful", "lifelike", "realisms"]
    assert inputs["RestoreFlowFitTransport"][:9] == [
        *("restored", "natural", "patch", "shrinkage", "max_gain", "mean"),
        *("restored_folder", "natural_folder", "vae"),
    ]
    for node, picture in (("", "latent"), ("Image", "image")):
        assert inputs[f"RestoreFlowApplyTransport{node}"][:4] == [
            *("transport", picture, "fold_sigma", "zero_shot"),
        ]
    assert inputs["RestoreFlowSaveTransport"][:3] == ["transport", "name", "replace"]
    assert inputs["RestoreFlowLoadTransport"][:1] == ["file"]
    assert inputs["RestoreFlowLoadDegradation"][:1] == ["preset"]
    assert inputs["RestoreFlowApplyDegradation"][:3] == ["degradation", "image", "seed"]
    assert inputs["RestoreFlowLoadRestorationVAE"][:3] == ["weights", "precision", "ema"]
    assert inputs["RestoreFlowEncode"][:5] == ["vae", "image", "mode", "seed", "tile"]
    assert inputs["RestoreFlowDecode"][:3] == ["vae", "latent", "tile"]
    assert inputs["RestoreFlowPosteriorMeanLatent"][:2] == ["posterior_mean", "latent"]
    assert inputs["RestoreFlowSampleLatent"][:8] == [
        *("flow", "latent", "seed", "steps", "source_noise", "solver", "stop_after", "tile"),
    ]
    assert inputs["RestoreFlowJobPhoto"][:5] == ["folder", "index", "group", "job", "rows"]
    assert inputs["RestoreFlowSaveRestoredPhoto"][:12] == [
        *("image", "photo", "suffix", "format", "bits", "quality", "metadata", "colour", "grey"),
        *("embed_workflow", "sidecar", "replace"),
    ]
    assert inputs["RestoreFlowBeforeAfter"][:2] == ["before", "after"]
    assert inputs["RestoreFlowDetectFaces"][:3] == ["image", "score", "smallest"]
    assert inputs["RestoreFlowSelectFaces"][:7] == [
        *("faces", "largest", "score", "smallest", "numbers", "image", "region"),
    ]
    assert inputs["RestoreFlowAlignFaces"][:3] == ["image", "faces", "size"]
    assert inputs["RestoreFlowPasteFaces"][:7] == [
        *("image", "crops", "faces", "shape", "match_colour", "mask", "detail"),
    ]
    assert inputs["RestoreFlowFacesFromPoints"][:3] == ["image", "points", "faces"]
    assert inputs["RestoreFlowFacesFromLandmarks"][:1] == ["landmarks"]
    assert inputs["RestoreFlowCompareToReference"][:5] == [
        *("image", "reference", "lpips", "photo", "label"),
    ]
    assert inputs["RestoreFlowJudgeWithoutReference"][:8] == [
        *("image", "posterior_mean", "degraded", "degradation", "niqe", "musiq", "photo", "label"),
    ]
    assert inputs["RestoreFlowCompareFolders"][:3] == ["folder", "reference", "limit"]
    assert inputs["RestoreFlowPlotTradeOff"][:5] == [
        *("points", "realisms", "reference", "natural", "width"),
    ]
    assert inputs["RestoreFlowMapUncertainty"][:13] == [
        *("flow", "image", "draws", "seed", "steps", "source_noise", "solver", "scale", "keep"),
        *("stop_after", "tile", "photo", "label"),
    ]
    assert inputs["RestoreFlowPickSample"][:8] == [
        *("samples", "rule", "index", "posterior_mean", "degraded", "degradation", "photo"),
        "label",
    ]
    assert inputs["RestoreFlowBlur"][:5] == ["kind", "size", "angle", "kernel", "border"]
    assert inputs["RestoreFlowDownscale"][:2] == ["factor", "method"]
    assert inputs["RestoreFlowMask"][:3] == ["share", "seed", "mask"]
    assert inputs["RestoreFlowColorize"][:1] == ["grey"]
    assert inputs["RestoreFlowClip"][:1] == ["gain"]
    assert inputs["RestoreFlowJPEG"][:2] == ["quality", "subsampling"]
    assert inputs["RestoreFlowNoise"][:1] == ["level"]
    assert inputs["RestoreFlowChainDegradations"][:4] == ["first", "second", "third", "fourth"]
    assert inputs["RestoreFlowFlowMapDenoise"][:6] == [
        *("flow", "image", "noise_level", "lookahead", "mode", "tile"),
    ]
    assert inputs["RestoreFlowPlugAndPlay"][:10] == [
        *("flow", "degradation", "image", "seed", "steps", "lookahead", "draws", "data_step"),
        *("start", "tile"),
    ]


def test_everything_explains_itself(schemas):
    for schema in schemas.values():
        assert schema.category.startswith("RestoreFlow/")
        assert len(schema.description) > 40
        for part in (*schema.inputs, *schema.outputs):
            assert part.tooltip, f"{schema.node_id}.{part.id or part.display_name} has no tooltip"
        assert (ROOT / "web" / "docs" / f"{schema.node_id}.md").is_file()


def test_bypass_passes_the_right_thing(schemas):
    for schema in schemas.values():
        kinds = [output.io_type for output in schema.outputs[:1]]
        through = next((i.id for i in schema.inputs if i.get_io_type() in kinds), None)
        assert through == PASSES_ON.get(schema.node_id)


def test_a_node_unpacks_calls_one_function_and_packs(nodes):
    for node in nodes.NODES:
        source = textwrap.dedent(inspect.getsource(node.execute.__func__))
        (function,) = ast.parse(source).body
        assert function.end_lineno - function.lineno <= 25
        assert not any(isinstance(part, (ast.For, ast.While)) for part in ast.walk(function))


def test_unknown_schema_fields_are_left_out(host):
    schema = host.schema(node_id="X", from_the_future=True, search_aliases=["y"])
    assert schema.node_id == "X"
    assert not hasattr(schema, "from_the_future")
