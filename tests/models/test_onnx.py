"""ONNX files: what is read of them, and what is refused in a sentence."""

import random

import pytest
import torch
from onnx_files import field, floats, model, node, tensor, varint
from restoreflow.models import onnx
from restoreflow.models.checkpoint import WeightsError

WEIGHT = torch.randn(4, 3, 2, 1, generator=torch.Generator().manual_seed(0))
BIAS = torch.tensor([1.0, -2.5, 3e-30, 0.0])


def small() -> bytes:
    nodes = [node("Conv", ["x", "w", "b"], ["1"], group=1, pads=[0, 0]), node("Relu", "1", "y")]
    return model(nodes, [tensor("w", WEIGHT), tensor("b", BIAS)], {"x": (1, 3, 8, 8)})


def write(folder, content: bytes):
    path = folder / "a.onnx"
    path.write_bytes(content)
    return path


def test_tensors_and_nodes(tmp_path):
    held = onnx.read(write(tmp_path, small()))
    assert held.shapes == {"w": (4, 3, 2, 1), "b": (4,)}
    assert torch.equal(held.tensors["w"], WEIGHT) and torch.equal(held.part("")["b"], BIAS)
    assert held.config["nodes"] == (
        onnx.Node("Conv", ("x", "w", "b"), ("1",)),
        onnx.Node("Relu", ("1",), ("y",)),
    )


@pytest.mark.parametrize("packed", [True, False])
def test_lists_of_numbers(tmp_path, packed):
    held = onnx.read(write(tmp_path, model(tensors=[floats("w", WEIGHT, packed)])))
    assert torch.equal(held.tensors["w"], WEIGHT)


def test_what_is_no_weight_is_left_out(tmp_path):
    others = [tensor("shape", torch.tensor([1, -1])), tensor("none", torch.empty(0))]
    held = onnx.read(write(tmp_path, model(tensors=[*others, tensor("b", torch.tensor(2.0))])))
    assert held.shapes == {"b": ()} and held.tensors["b"] == 2


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_numbers_of_seven_bits_a_byte(value):
    end = len(varint(value))
    assert onnx._varint(memoryview(varint(value) + b"\xff"), 0) == (value, end)


# Bad input, each one clear sentence


def test_every_truncation_is_refused(tmp_path):
    content = small()
    for end in range(len(content) - len(field(8, field(1, "") + field(2, 11)))):
        with pytest.raises(WeightsError, match=r"^a\.onnx (is damaged|holds no float32)"):
            onnx.read(write(tmp_path, content[:end]))


def test_any_damage_is_read_or_refused(tmp_path):
    content, dice = small(), random.Random(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            onnx.read(write(tmp_path, bytes(damaged)))
        except WeightsError as error:
            refused += 1
            assert len(str(error)) < 350 and str(error).startswith("a.onnx ")
    assert 100 < refused < 1000


HUGE = field(1, 2**62) + field(1, 4) + field(2, 1) + field(8, "w")
MANY = field(1, 1) * 100 + field(2, 1) + field(8, "w") + field(9, bytes(4))
REFUSED = {
    "empty": (b"", "holds no float32 tensors"),
    "web page": (b"\n <!DOCTYPE html>", "is a web page or a pointer"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a web page or a pointer"),
    "whole numbers": (model(tensors=[tensor("w", torch.arange(4))]), "holds no float32 tensors"),
    "elsewhere": (
        model(tensors=[field(2, 1) + field(8, "w") + field(13, b"")]),
        "keeps the values of w in another file beside it; choose",
    ),
    "too few values": (
        model(tensors=[field(1, 3) + field(2, 1) + field(8, "w") + field(9, bytes(8))]),
        r"is damaged .*\(w has 8 bytes for a shape of \[3\]\)",
    ),
    "a huge shape": (model(tensors=[HUGE]), "is damaged .*w has 0 bytes for a shape"),
    "a hundred dimensions": (model(tensors=[MANY]), "is damaged .*w has 4 bytes for a shape"),
    "a name of other bytes": (
        model(tensors=[field(2, 1) + field(8, b"\xff\xfe")]),
        "is damaged .*codec can't decode",
    ),
    "a number for a graph": (field(7, 3), "is damaged .*a number stands where a message should"),
    "a number without end": (b"\x80" * 11, "is damaged .*a number is too long"),
    "groups": (b"\x0b", "is damaged .*there is no wire type 3"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind):
    content, says = REFUSED[kind]
    with pytest.raises(WeightsError, match=rf"^a\.onnx {says}"):
        onnx.read(write(tmp_path, content))


def test_nothing_there(tmp_path):
    with pytest.raises(WeightsError, match=r"There is no weight file b\.onnx; put it into a"):
        onnx.read(tmp_path / "b.onnx")


def test_a_large_file_is_not_opened(tmp_path):
    path = tmp_path / "a.onnx"
    with open(path, "wb") as file:
        file.truncate(onnx.LARGEST + 1)
    with pytest.raises(WeightsError, match=r"a\.onnx is larger than 16 MiB; no network"):
        onnx.read(path)


def test_a_crowd_of_nodes(tmp_path):
    crowd = model([node("", "", "")] * (onnx.MOST + 1))
    with pytest.raises(WeightsError, match=r"a\.onnx has more than 16384 nodes and tensors"):
        onnx.read(write(tmp_path, crowd))
