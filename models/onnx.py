"""The weights of an ONNX file: of its graph, tensors and what reads what, and nothing else.

The container is protobuf's (protobuf.dev/programming-guides/encoding): a message is a row of
fields, each a number, a wire type and a value, and messages nest as bytes. The numbers below are
those of onnx.proto (github.com/onnx/onnx). Nothing is executed: the families know the networks.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .checkpoint import NO_WEIGHTS, Checkpoint, WeightsError

EXTENSION = ".onnx"
LARGEST = 2**24
"""Bytes of a file, which is read whole: far more than any network that the pack takes from ONNX."""
MOST = 2**14
"""Nodes and tensors of a file, so that a small one cannot become millions of objects."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
GRAPH = 7  # a field of a ModelProto
NODE, INITIALIZER = 1, 5  # of a GraphProto
INPUT, OUTPUT, KIND = 1, 2, 4  # of a NodeProto
DIMS, TYPE, FLOATS, NAME, RAW, EXTERNAL = 1, 2, 4, 8, 9, 13  # of a TensorProto
FLOAT32 = 1  # a data type
MOST_DIMS = 8


class Node(NamedTuple):
    """One operation of a graph, by the names of what it reads and makes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _DamageError(Exception):
    """Bytes that are no message."""


def read(path: Path) -> Checkpoint:
    """The float32 tensors of an ONNX file under its names; `config["nodes"]` are its nodes.

    Raises:
        WeightsError: the file is missing, too large, no ONNX file, damaged, or keeps its tensors
            elsewhere.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weight file {path.name}; put it into a model folder.")
    if path.stat().st_size > LARGEST:
        raise WeightsError(
            f"{path.name} is larger than {LARGEST >> 20} MiB; no network that is read from an "
            "ONNX file here is so large, so choose another file."
        )
    content = path.read_bytes()
    if content[:64].lstrip().lower().startswith(NO_WEIGHTS):
        raise WeightsError(
            f"{path.name} is a web page or a pointer to a file instead of the file; delete it and "
            "fetch it again."
        )
    try:
        tensors, nodes = _graph(memoryview(content), path.name)
    except (_DamageError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path.name} is damaged or not an ONNX file ({error!s:.200}); delete it and fetch it "
            "again."
        ) from error
    if not tensors:
        raise WeightsError(
            f"{path.name} holds no float32 tensors; if it was fetched, delete it and fetch it "
            "again."
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Checkpoint(path.name, shapes, {"nodes": nodes}, tensors=tensors)


def _graph(content: memoryview, name: str) -> tuple[dict[str, Tensor], tuple[Node, ...]]:
    """The tensors and nodes of a model, in the file's order, which is topological."""
    tensors, nodes, count = {}, [], 0
    for graph in _all(content, GRAPH):
        for number, value in _fields(_message(graph)):
            if number not in (NODE, INITIALIZER):
                continue
            count += 1
            if count > MOST:
                raise WeightsError(
                    f"{name} has more than {MOST} nodes and tensors; no network that is read from "
                    "an ONNX file here has so many, so choose another file."
                )
            if number == NODE:
                nodes.append(_node(_message(value)))
            elif read := _tensor(_message(value), name):
                tensors.update([read])
    return tensors, tuple(nodes)


def _node(content: memoryview) -> Node:
    kind, inputs, outputs = (
        tuple(_text(value) for value in _all(content, number)) for number in (KIND, INPUT, OUTPUT)
    )
    return Node("".join(kind), inputs, outputs)


def _tensor(content: memoryview, file: str) -> tuple[str, Tensor] | None:
    """Name and values; None where they are no weights: of another type, or empty."""
    fields = dict(_fields(content))
    name = _text(fields.get(NAME, memoryview(b"")))
    if EXTERNAL in fields:
        raise WeightsError(
            f"{file} keeps the values of {name:.100} in another file beside it; choose a file that "
            "holds all of its weights."
        )
    if fields.get(TYPE) != FLOAT32:
        return None
    shape = [size for value in _all(content, DIMS) for size in _integers(value)]
    values = bytearray().join(
        _message(value) for n, value in _fields(content) if n in (FLOATS, RAW)
    )
    if len(shape) > MOST_DIMS or 4 * prod(shape) != len(values):
        raise _DamageError(f"{name} has {len(values)} bytes for a shape of {shape[:MOST_DIMS]}")
    # An empty tensor is an operation's default, no weight.
    return (name, torch.frombuffer(values, dtype=torch.float32).reshape(shape)) if values else None


# The wire


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field's number and value: an integer, or bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(content, at)
        elif wire in (FIXED64, FIXED32, BYTES):
            size = {FIXED64: 8, FIXED32: 4}.get(wire)
            if size is None:
                size, at = _varint(content, at)
            if size > len(content) - at:
                raise _DamageError("it ends too early")
            value, at = content[at : at + size], at + size
        else:
            raise _DamageError(f"there is no wire type {wire}")
        yield number, value


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """The unsigned integer that begins at a byte, 7 bits each, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise _DamageError("it ends too early")
        byte, at = content[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _DamageError("a number is too long")


def _all(content: memoryview, wanted: int) -> Iterator[int | memoryview]:
    return (value for number, value in _fields(content) if number == wanted)


def _integers(value: int | memoryview) -> Iterator[int]:
    """One number, or a packed row of them."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _DamageError("a number stands where a message should")
    return value


def _text(value: int | memoryview) -> str:
    return str(_message(value), "utf-8")
