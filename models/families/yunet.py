"""YuNet (MIT, Hub opencv/face_detection_yunet): boxes and five points of faces.

The published file is an ONNX graph under the training code's names, but for the convolutions that
took in a BatchNorm: their weights have numbers for names. What its cells answer, thresholds and
suppression are as OpenCV's FaceDetectorYN reads them; its clamps change no sigmoid, and it cuts
boxes to whole pixels before it compares them, which is not done here.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoint import Checkpoint, StateDict, WeightsError, fill
from ..contracts import Detector, Found
from ..networks.yunet import STRIDES, YuNet

MARK = "bbox_head.multi_level_kps.0.conv1.weight"
FIRST = "backbone.model0.conv1"
MULTIPLE = STRIDES[-1]
SCORE = 0.7
"""An upright face of 28 px or more passes it, blurred, noisy, faded or at JPEG quality 6, too; of
17 photos without a face one patch did. OpenCV's own, 0.9, loses many that are to be restored."""
OVERLAP = 0.3
"""Two boxes whose intersection is a larger part of their union are of one face."""
MOST = 5000
"""Candidates that are compared, the best ones."""
SMALLEST, LARGEST = 20, 320
"""Sides in px between which the network is trusted with a face. Its points are off by 0.08 of the
face's height at 20 px, 0.04 at 32, 0.02 from 64 to 640 (rms), where scores begin to fall."""
STEP = 4
"""How much smaller each copy of a picture is than the last; by 2 it finds no more."""
TILE = 1536
"""Pixels of a tile's side, of whose cells the answers count; a multiple of 32."""
REACH = 224
"""Pixels round a tile that its cells can see (219), rounded up to a multiple of 32."""
BYTES = 64
"""Peak float32 activations of the network and its input, a pixel (profiled)."""


# Loading


def has_detector(checkpoint: Checkpoint) -> bool:
    return MARK in checkpoint.shapes


def load_detector(checkpoint: Checkpoint) -> Detector:
    """The detector of an ONNX file, or of a copy under the network's names."""
    state, nodes = checkpoint.part(""), checkpoint.config.get("nodes")
    if nodes is not None:
        state = _named(state, nodes, checkpoint.name)
    if not all(weight.isfinite().all() for weight in state.values()):
        raise WeightsError(
            f"{checkpoint.name} holds weights that are not numbers (NaN or infinite); delete it "
            "and fetch it again."
        )
    with torch.device("meta"):
        network = YuNet()
    fill(network, state, checkpoint.name)
    network.eval().requires_grad_(False)

    def detected(picture: Tensor, score: float, smallest: int) -> Found:
        return detect(network, picture, score, smallest)

    def memory(height: int, width: int, batch: int, dtype: torch.dtype) -> int:
        """Of one tile: pictures are scanned one after another."""
        largest = TILE + 2 * REACH
        return min(height, largest) * min(width, largest) * BYTES * dtype.itemsize // 4

    return Detector(
        name=f"{checkpoint.name} (YuNet)",
        network=network,
        memory=memory,
        detected=detected,
        score=SCORE,
        smallest=SMALLEST,
    )


def _named(tensors: StateDict, nodes: tuple, name: str) -> StateDict:
    """The weights that the convolutions of a graph read, under the network's names.

    Only depthwise convolutions and the first one lost their names, to a BatchNorm; a depthwise
    one reads the 1x1 convolution of its unit, which kept its own.
    """
    layers: dict[str, str] = {}
    state = {}
    for kind, inputs, outputs in nodes:
        if kind != "Conv":
            continue
        if len(inputs) != 3 or len(outputs) != 1 or not tensors.keys() >= {*inputs[1:]}:
            raise WeightsError(
                f"{name} is damaged: a convolution lacks its weights; delete it and fetch it again."
            )
        source, weight, bias = inputs
        if weight.endswith(".weight"):
            layer = weight.removesuffix(".weight")
        elif not layers:
            layer = FIRST
        elif source in layers:
            layer = layers[source].removesuffix("1") + "2"
        else:
            raise WeightsError(f"{name} has a convolution without a name; choose another file.")
        if layer in layers.values():
            raise WeightsError(f"{name} holds two convolutions {layer}; choose another file.")
        layers[outputs[0]] = layer
        state |= {f"{layer}.weight": tensors[weight], f"{layer}.bias": tensors[bias]}
    return state


# Finding


def detect(network: YuNet, picture: Tensor, score: float, smallest: int = SMALLEST) -> Found:
    """The faces of a picture [3, H, W] in [0, 1], whatever their size."""
    found = []
    for shrink in shrinks(*picture.shape[1:], smallest):
        small = picture[None] if shrink == 1 else F.avg_pool2d(picture[None], shrink)
        boxes, points, scores = scan(network, small, score)
        found.append(Found(boxes * shrink, points * shrink, scores))
    return suppress(_joined(found))


def shrinks(height: int, width: int, smallest: int) -> Iterator[int]:
    """By how much a picture is shrunk, each time: from the smallest face to one that fills it."""
    shrink = max(1, min(smallest, height, width) // SMALLEST)
    yield shrink
    while max(height, width) > LARGEST * shrink and min(height, width) >= SMALLEST * shrink * STEP:
        shrink *= STEP
        yield shrink


def scan(network: YuNet, picture: Tensor, score: float) -> Found:
    """What the cells of one picture [1, 3, H, W] take for a face; several of them for each.

    Tile by tile, so that memory has a limit; the answers are those of the whole picture.
    """
    height, width = picture.shape[2:]
    found = [
        cells
        for top in range(0, height, TILE)
        for left in range(0, width, TILE)
        for cells in _tile(network, picture, top, left, score)
    ]
    return _joined(found)


def _tile(network: YuNet, picture: Tensor, top: int, left: int, score: float) -> Iterator[Found]:
    """Of the cells of one tile, a stride at a time."""
    weight = next(network.parameters())
    above, before = min(top, REACH), min(left, REACH)
    seen = picture[:, :, top - above : top + TILE + REACH, left - before : left + TILE + REACH]
    padding = (0, -seen.shape[3] % MULTIPLE, 0, -seen.shape[2] % MULTIPLE)
    x = F.pad(seen.to(weight.device, weight.dtype).flip(1), padding).mul_(255)  # blue first
    x = x.contiguous(memory_format=torch.channels_last)
    for stride, answer in zip(STRIDES, network(x), strict=True):
        row, column, count = above // stride, before // stride, TILE // stride
        own = answer[0, :, row : row + count, column : column + count].to(picture.device)
        boxes, points, scores = decode(own.float(), stride, score)
        corner = boxes.new_tensor([left, top])
        yield Found(boxes + corner.repeat(2), points + corner, scores)


def _joined(several: list[Found]) -> Found:
    return Found(*(torch.cat(parts) for parts in zip(*several, strict=True)))


def decode(answers: Tensor, stride: int, score: float) -> Found:
    """The cells [16, h, w] of one stride whose score is at least `score`.

    A cell at column c and row r is (c, r) * stride. It answers, in cells: its centre and points
    from there, and the logarithms of width and height. Its score is the geometric mean of two
    probabilities: that it shows a face, and that it is the one to ask.
    """
    scores = answers[:2].sigmoid().prod(0).sqrt()
    rows, columns = torch.nonzero(scores >= score, as_tuple=True)
    cell = torch.stack([columns, rows], dim=1)
    _, centre, log_size, points = answers[:, rows, columns].T.split([2, 2, 2, 10], dim=1)
    centre, half = cell + centre, log_size.exp() / 2
    return Found(
        torch.cat([centre - half, centre + half], dim=1) * stride,
        (points.unflatten(1, (5, 2)) + cell[:, None]) * stride,
        scores[rows, columns],
    )


def suppress(found: Found, overlap: float = OVERLAP, most: int = MOST) -> Found:
    """One box a face: the best is kept, those that overlap it are dropped, and so on."""
    order = found.scores.argsort(descending=True, stable=True)[:most]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[_overlaps(found.boxes[best], found.boxes[order]) <= overlap]
    chosen = torch.stack(kept) if kept else order
    return Found(*(part[chosen] for part in found))


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of a box [4] and others [N, 4] -> [N]."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return both / (areas - both)
