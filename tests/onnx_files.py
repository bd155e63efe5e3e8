"""ONNX files without the onnx package: messages, graphs, and YuNet as its authors export it."""

import math
import struct
from collections.abc import Iterable
from itertools import count

import numpy as np
import torch
from restoreflow.faces.geometry import SIDE, TEMPLATE
from restoreflow.models import hub
from restoreflow.models.networks.yunet import ANSWERS, POOLED, SEEN, STRIDES, YuNet
from torch import Tensor, nn

DETECTOR = next(known.name for known in hub.KNOWN if known.name.endswith(".onnx"))
"""What Detect Faces loads; no widget names it."""
TYPES = {torch.float32: 1, torch.int64: 7}


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes | str) -> bytes:
    """A number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, values: Tensor) -> bytes:
    dims = b"".join(field(1, size) for size in values.shape)
    raw = values.detach().contiguous().numpy().tobytes()
    return dims + field(2, TYPES[values.dtype]) + field(8, name) + field(9, raw)


def _attribute(name: str, value: int | str | list[int]) -> bytes:
    if isinstance(value, list):
        return field(1, name) + b"".join(field(8, number) for number in value) + field(20, 7)
    whole = isinstance(value, int)
    return field(1, name) + field(3 if whole else 4, value) + field(20, 2 if whole else 3)


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], **attributes) -> bytes:
    read = b"".join(field(1, name) for name in inputs)
    made = b"".join(field(2, name) for name in outputs)
    options = b"".join(field(5, _attribute(*item)) for item in attributes.items())
    return read + made + field(4, kind) + options


def _port(name: str, shape: Iterable[int]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, TYPES[torch.float32]) + field(2, dims)))


def model(
    nodes: Iterable[bytes] = (),
    tensors: Iterable[bytes] = (),
    inputs: dict[str, tuple] | None = None,
    outputs: dict[str, tuple] | None = None,
) -> bytes:
    rows = {
        1: nodes,
        5: tensors,
        11: [_port(*item) for item in (inputs or {}).items()],
        12: [_port(*item) for item in (outputs or {}).items()],
    }
    graph = b"".join(field(number, row) for number, several in rows.items() for row in several)
    opset = field(1, "") + field(2, 11)
    return field(1, 6) + field(2, "test") + field(7, graph + field(2, "graph")) + field(8, opset)


class _Export:
    """A graph that grows; values without a name of their own are numbered."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self.numbers = map(str, count(100))

    def constant(self, values: Tensor, name: str | None = None) -> str:
        name = name or next(self.numbers)
        self.tensors.append(tensor(name, values))
        return name

    def add(self, kind: str, *inputs: str, to: str | None = None, **attributes) -> str:
        to = to or next(self.numbers)
        self.nodes.append(node(kind, inputs, [to], **attributes))
        return to

    def conv(self, x: str, conv: nn.Conv2d, layer: str | None) -> str:
        """Under its name, or a number where a BatchNorm was folded into it."""
        weight = self.constant(conv.weight, layer and f"{layer}.weight")
        bias = self.constant(conv.bias, layer and f"{layer}.bias")
        shape = {"kernel_shape": list(conv.kernel_size), "strides": list(conv.stride)}
        pads = [*conv.padding, *conv.padding]
        return self.add("Conv", x, weight, bias, group=conv.groups, pads=pads, **shape)

    def unit(self, x: str, unit: nn.Module, layer: str) -> str:
        """One with a BatchNorm, and so a ReLU after it."""
        x = self.conv(x, unit.conv1, f"{layer}.conv1")
        return self.add("Relu", self.conv(x, unit.conv2, None))

    def answer(self, x: str, unit: nn.Module, layer: str, to: str, chance: bool) -> str:
        x = self.conv(x, unit.conv1, f"{layer}.conv1")
        x = self.add("Transpose", self.conv(x, unit.conv2, f"{layer}.conv2"), perm=[0, 2, 3, 1])
        shape = self.constant(torch.tensor([1, -1, unit.conv2.out_channels]))
        x = self.add("Reshape", x, shape, to=None if chance else to)
        return self.add("Sigmoid", x, to=to) if chance else x


def yunet(network: YuNet, height: int, width: int) -> bytes:
    """The network for one size, with the published names of inputs, outputs and weights."""
    export = _Export()
    x = export.conv("input", network.backbone.model0.conv1, None)
    x = export.unit(export.add("Relu", x), network.backbone.model0.conv2, "backbone.model0.conv2")
    maps = []
    for number, stage in enumerate(network.backbone.children()):
        for name in ("conv1", "conv2") if number else ():
            x = export.unit(x, getattr(stage, name), f"backbone.model{number}.{name}")
        if number in SEEN:
            maps.append(x)
        if number in POOLED:
            x = export.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    nothing = export.constant(torch.empty(0))
    twice = export.constant(torch.tensor([1.0, 1.0, 2.0, 2.0]))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    for level in (2, 1, 0):
        lateral = network.neck.lateral_convs[level]
        maps[level] = export.unit(maps[level], lateral, f"neck.lateral_convs.{level}")
        if level:
            larger = export.add(
                "Resize", maps[level], nothing, twice, nearest_mode="floor", **nearest
            )
            maps[level - 1] = export.add("Add", maps[level - 1], larger)
    outputs = {}
    for answer, numbers in ANSWERS.items():
        units = getattr(network.bbox_head, f"multi_level_{answer}")
        for level, stride in enumerate(STRIDES):
            name, layer = f"{answer}_{stride}", f"bbox_head.multi_level_{answer}.{level}"
            export.answer(maps[level], units[level], layer, name, answer in ("cls", "obj"))
            outputs[name] = (1, height * width // stride**2, numbers)
    return model(export.nodes, export.tensors, {"input": (1, 3, height, width)}, outputs)


def spots(threshold: float = 0.9) -> YuNet:
    """A detector that takes a white spot for a face, upright and 128 px wide as an aligned crop.

    A spot is one cell of 32 x 32 pixels in which something is brighter than the threshold.
    """
    network = YuNet().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    for layer in network.modules():  # brightness goes through the first channel of every layer
        if isinstance(layer, nn.Conv2d):
            layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
    network.backbone.model0.conv1.weight[0, :, 1, 1] = 1 / (3 * 255)
    points = (TEMPLATE / SIDE - 0.5) * 4 + 0.5
    constant = {"bbox": torch.tensor([0.5, 0.5, math.log(2), math.log(2.5)]), "kps": points}
    for answer in ANSWERS:
        for level, unit in enumerate(getattr(network.bbox_head, f"multi_level_{answer}")):
            if answer in constant:
                unit.conv1.weight.zero_()
                unit.conv2.bias.copy_(constant[answer].flatten())
            else:
                unit.conv2.weight *= 200
                unit.conv2.bias -= 200 * (threshold if STRIDES[level] == 32 else 9)
    return network


def spotted(places: Iterable[tuple[int, int]]) -> np.ndarray:
    """Faint noise, uint8 [320, 300, 3], with a white spot at each place (x, y)."""
    pixels = np.random.default_rng(0).integers(0, 150, (320, 300, 3), dtype=np.uint8)
    for x, y in places:
        pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
    return pixels


def floats(name: str, values: Tensor, packed: bool) -> bytes:
    """A tensor as lists of numbers instead of raw bytes, each list packed into one field or not."""
    numbers = [struct.pack("<f", value) for value in values.flatten().tolist()]
    if packed:
        dims = field(1, b"".join(varint(size) for size in values.shape))
        row = field(4, b"".join(numbers))
    else:
        dims = b"".join(field(1, size) for size in values.shape)
        row = b"".join(varint(4 << 3 | 5) + number for number in numbers)
    return dims + field(2, TYPES[values.dtype]) + row + field(8, name)
