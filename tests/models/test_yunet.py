"""YuNet: OpenCV's detector agrees, its file is read, faces of any size and photos of any are."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx_files import yunet as exported
from restoreflow.models import onnx, registry
from restoreflow.models.checkpoint import Checkpoint, WeightsError
from restoreflow.models.contracts import Detector, Found
from restoreflow.models.families import yunet
from restoreflow.models.families.yunet import decode, detect, scan, shrinks, suppress
from restoreflow.models.hub import Hub
from restoreflow.models.networks.yunet import ANSWERS, YuNet

ASTRONAUT = [
    [178.1673, 62.9083, 268.0667, 176.2407],
    [[200.116, 101.820], [247.134, 102.619], [220.367, 124.545], [198.613, 142.774],
     [239.668, 143.638]],
    [0.93233],
]  # fmt: skip
"""What OpenCV 5.0 finds with the published file in scikit-image's photo."""


ANSWERED = {"cls": (-1, 1.5), "obj": (-1, 1.5), "bbox": (1.5, 0.3), "kps": (0, 1)}
"""Mean and std of a random network's answers: few faces are sure, boxes are some cells large."""


@pytest.fixture
def network() -> YuNet:
    """Random weights whose answers differ from cell to cell."""
    network = YuNet().eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    for level, answers in enumerate(network(photo(512, 512)[None] * 255)):
        split = answers[0].flatten(1).split(list(ANSWERS.values()))
        for (name, (mean, std)), values in zip(ANSWERED.items(), split, strict=True):
            conv = getattr(network.bbox_head, f"multi_level_{name}")[level].conv2
            factor = std / values.std(1)
            conv.weight *= factor[:, None, None, None]
            conv.bias.copy_(mean + (conv.bias - values.mean(1)) * factor)
    return network


def photo(height: int, width: int) -> torch.Tensor:
    """[3, H, W]: 8-bit noise that is smooth enough to differ from place to place."""
    coarse = torch.rand(1, 3, -(-height // 8), -(-width // 8))
    smooth = F.interpolate(coarse, scale_factor=8.0, mode="bilinear")[0, :, :height, :width]
    return (smooth * 255).round() / 255


def best(network: YuNet, picture: torch.Tensor, count: int) -> float:
    """A score that so many cells reach, with room to the next."""
    scores = scan(network, picture[None], 0.0).scores.sort(descending=True).values
    return float(scores[count - 1 : count + 1].mean())


def load(path) -> Detector:
    return registry.load(path, registry.DETECTOR)


def write(network: YuNet, path, height=64, width=64):
    path.write_bytes(exported(network, height, width))
    return path


def agree(found: Found, expected: Found, pixels=1e-3, score=1e-4) -> bool:
    tolerances = (pixels, pixels, score)
    return all(
        ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=atol)
        for ours, theirs, atol in zip(found, expected, tolerances, strict=True)
    )


# Against OpenCV


@pytest.fixture
def opencv(tmp_path, network):
    """FaceDetectorYN with the network: (picture, least score, overlap) -> its faces."""
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")

    def found(picture: torch.Tensor, score: float, overlap: float) -> Found:
        height, width = picture.shape[1:]
        path = write(network, tmp_path / "cv.onnx", -(-height // 32) * 32, -(-width // 32) * 32)
        detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), score, overlap, 5000)
        colours = (picture.flip(0) * 255).round().byte().permute(1, 2, 0).contiguous()
        rows = torch.from_numpy(detector.detect(colours.numpy())[1])
        corner, size, points, scores = rows.split([2, 2, 10, 1], dim=1)
        boxes = torch.cat([corner, corner + size], dim=1)
        return Found(boxes, points.unflatten(1, (5, 2)), scores[:, 0])

    return found


@pytest.mark.parametrize(("height", "width"), [(320, 320), (203, 333), (96, 640)])
def test_opencv_finds_the_same(tmp_path, network, opencv, height, width):
    picture = photo(height, width)
    score = best(network, picture, 60)
    seen = scan(load(write(network, tmp_path / "a.onnx")).network, picture[None], score)
    candidates, expected = suppress(seen, overlap=1.0), opencv(picture, score, 1.0)
    assert len(expected.scores) == 60 and agree(candidates, expected)
    # It compares boxes of whole pixels.
    corner, size = candidates.boxes[:, :2], candidates.boxes[:, 2:] - candidates.boxes[:, :2]
    whole = torch.cat([corner.trunc(), corner.trunc() + size.trunc()], dim=1)
    chosen, expected = suppress(candidates._replace(boxes=whole)), opencv(picture, score, 0.3)
    assert 5 < len(expected.scores) < 55
    assert agree(chosen._replace(boxes=expected.boxes), expected)


def test_the_published_file_finds_the_astronaut():
    skimage_data = pytest.importorskip("skimage.data")
    path = Hub("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx").cached()
    if path is None:
        pytest.skip("the published YuNet is not in the Hub's cache")
    picture = torch.from_numpy(skimage_data.astronaut()).permute(2, 0, 1)[None] / 255
    (found,) = load(path).detect(picture)
    box, points, scores = (torch.tensor(part) for part in ASTRONAUT)
    assert agree(found, Found(box[None], points[None], scores))


# The file


def test_a_file_gives_the_network_back(tmp_path, network):
    part = load(write(network, tmp_path / "a.onnx"))
    state = part.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert part.name == "a.onnx (YuNet)" and part.parameter_count == 53104
    assert len(set(onnx.read(tmp_path / "a.onnx").shapes) & set(state)) == len(state) - 2 * 15


def test_a_copy_under_the_networks_names(network):
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    checkpoint = Checkpoint("a.safetensors", shapes, tensors=state)
    assert yunet.has_detector(checkpoint)
    picture = photo(64, 64)
    score = best(network, picture, 9)
    (found,) = yunet.load_detector(checkpoint).detect(picture[None], score)
    assert agree(found, detect(network, picture, score))


def altered(network: YuNet, path, change) -> Checkpoint:
    held = onnx.read(write(network, path))
    nodes = tuple(change(node) for node in held.config["nodes"])
    return Checkpoint(held.name, held.shapes, {"nodes": nodes}, tensors=held.tensors)


def test_another_graph_is_refused(tmp_path, network):
    lateral = "neck.lateral_convs.1.conv1.weight"

    def twice(node):
        inputs = [lateral if "convs.0.conv1.weight" in name else name for name in node.inputs]
        return node._replace(inputs=tuple(inputs))

    def without(node):
        return node._replace(kind="Other") if lateral in node.inputs else node

    says = r"a\.onnx holds two convolutions neck\.lateral_convs\.1\.conv1; choose"
    with pytest.raises(WeightsError, match=says):
        yunet.load_detector(altered(network, tmp_path / "a.onnx", twice))
    with pytest.raises(WeightsError, match=r"a\.onnx has a convolution without a name"):
        yunet.load_detector(altered(network, tmp_path / "a.onnx", without))


def test_another_width_is_refused(tmp_path, network):
    network.backbone.model1.conv2.conv1 = torch.nn.Conv2d(16, 64, 1)
    with pytest.raises(WeightsError, match=r"a\.onnx does not fit .* another shape for backbone"):
        load(write(network, tmp_path / "a.onnx"))


# Closed forms


def test_a_cell_is_decoded():
    answers = torch.full((16, 5, 7), -20.0)
    answers[0, 2, 3], answers[1, 2, 3] = torch.tensor([0.9, 0.4]).logit()
    answers[2:6, 2, 3] = torch.tensor([0.25, -0.5, np.log(2.0), np.log(3.0)])
    answers[6:, 2, 3] = torch.arange(10.0) / 10
    found = decode(answers, stride=16, score=0.5)
    assert torch.allclose(found.boxes, torch.tensor([[36.0, 0, 68, 48]]))
    across = 48 + 1.6 * torch.arange(0.0, 10, 2)
    assert torch.allclose(found.points, torch.stack([across, across - 16 + 1.6], dim=1)[None])
    assert torch.allclose(found.scores, torch.tensor([0.6]))
    assert not len(decode(answers, stride=16, score=0.61).scores)


def boxed(*rows: tuple[float, ...]) -> Found:
    """Of left, top, right, bottom and score."""
    table = torch.tensor(rows).reshape(-1, 5)
    return Found(table[:, :4], table[:, :1, None].expand(-1, 5, 2), table[:, 4])


def test_the_surest_of_a_face_is_kept():
    found = boxed(
        (0, 0, 10, 10, 0.8),
        (5, 0, 15, 10, 0.9),  # a third of both is common
        (12, 0, 22, 10, 0.7),  # 3 / 17 with the second
        (40, 40, 50, 50, 0.6),
        (41, 41, 49, 49, 0.6),  # inside: 64 / 100
    )
    assert suppress(found).scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert suppress(found).points[:, 0, 0].tolist() == [5, 12, 40]
    assert len(suppress(found, overlap=0.34).scores) == 4
    assert suppress(found, most=2).scores.tolist() == pytest.approx([0.9])
    assert [tuple(part.shape) for part in suppress(boxed())] == [(0, 4), (0, 5, 2), (0,)]


# Any size


@pytest.mark.parametrize(
    ("size", "smallest", "expected"),
    [
        ((200, 320), 20, [1]),
        ((4000, 6000), 20, [1, 4, 16, 64]),
        ((4000, 6000), 75, [3, 12, 48]),
        ((40, 6000), 20, [1]),  # nothing is left of its height
        ((5, 7), 400, [1]),
    ],
)
def test_copies_of_a_picture(size, smallest, expected):
    assert list(shrinks(*size, smallest)) == expected


def test_a_larger_photo_has_the_same_faces(network):
    picture = photo(96, 128)
    score = best(network, picture, 30)
    small = detect(network, picture, score)
    large = detect(network, picture.repeat_interleave(3, 1).repeat_interleave(3, 2), score, 60)
    assert len(small.scores) > 5
    assert agree(large, Found(small.boxes * 3, small.points * 3, small.scores), score=1e-5)


def test_tiles_answer_as_the_whole(network, monkeypatch):
    picture = photo(620, 600)
    score = best(network, picture, 200)
    whole = scan(network, picture[None], score)
    monkeypatch.setattr(yunet, "TILE", 256)
    tiled = scan(network, picture[None], score)
    order, tiled_order = (found.scores.argsort() for found in (whole, tiled))
    assert torch.allclose(whole.scores[order], tiled.scores[tiled_order], atol=1e-5)
    assert agree(suppress(tiled), suppress(whole))


def test_the_reach_is_what_a_cell_sees(network):
    def spoilt(above: int, below: int) -> bool:
        """Whether cells of the rows 512 to 543 see rows before `above` or from `below`."""
        picture = torch.zeros(1, 3, 1024, 32)
        picture[:, :, :above] = picture[:, :, below:] = float("nan")
        answers = zip((8, 16, 32), network(picture), strict=True)
        return any(bool(part[:, :, 512 // s : 544 // s].isnan().any()) for s, part in answers)

    first, last = 512 - yunet.REACH, 544 + yunet.REACH
    assert not spoilt(first, last)
    assert spoilt(first + 32, 1024) and spoilt(0, last - 64)


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (33, 31)])
def test_small_pictures(network, size):
    (found,) = part_of(network).detect(torch.rand(1, 3, *size), score=1.0)
    assert [tuple(tensor.shape) for tensor in found] == [(0, 4), (0, 5, 2), (0,)]


def part_of(network: YuNet) -> Detector:
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return yunet.load_detector(Checkpoint("a.safetensors", shapes, tensors=state))


def test_a_batch_is_its_pictures(network):
    pictures = torch.stack([photo(64, 96), torch.full((3, 64, 96), float("nan")), photo(64, 96)])
    score = best(network, pictures[0], 20)
    several = part_of(network).detect(pictures, score)
    assert agree(several[0], detect(network, pictures[0], score))
    assert len(several[0].scores) > 3 and not len(several[1].scores)
    assert agree(several[2], detect(network, pictures[2], score))


def test_memory_has_a_limit(network):
    memory = part_of(network).memory
    assert memory(4000, 6000, 8, torch.float32) == memory(8000, 9000, 1, torch.float32) < 3e8
    assert memory(100, 200, 1, torch.float32) < 2e6


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda content: content.replace(b"kps.0.conv1.weight", b"kps.0.conv1.weighx", 1), "lacks"),
        (lambda content: content, "weights that are not numbers"),
    ],
)
def test_a_spoiled_file_is_to_be_fetched_again(network, tmp_path, spoil, sentence):
    if sentence != "lacks":
        network.backbone.model0.conv1.bias[0] = torch.nan
    path = tmp_path / "yunet.onnx"
    path.write_bytes(spoil(exported(network, 64, 64)))
    with pytest.raises(WeightsError, match=f"{sentence}.*; delete it and fetch it again"):
        load(path)
