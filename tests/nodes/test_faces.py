"""Faces through the nodes: found, chosen, cut out, put back; and photos without any."""

import pytest
import torch
from onnx_files import spots, yunet
from restoreflow.faces import masks
from restoreflow.faces.detections import Faces
from restoreflow.faces.geometry import SIDE, TEMPLATE
from restoreflow.models import hub

SPOTS = ((100, 110), (240, 150), (170, 240))
"""Where photos have white spots (x, y), which the stub detector takes for faces."""


@pytest.fixture
def told(nodes, monkeypatch) -> list[str]:
    """What the nodes say to the user."""
    said: list[str] = []
    monkeypatch.setattr(nodes.host, "tell", said.append)
    return said


@pytest.fixture
def detect(nodes, weights_folder):
    """Detect Faces with the stub in place of YuNet's file."""
    (weights_folder / nodes.faces.YUNET).write_bytes(yunet(spots(), 64, 64))

    def run(image, score=0.7, smallest=20) -> Faces:
        return nodes.faces.DetectFaces.execute(image, score, smallest).args[0]

    return run


@pytest.fixture
def paste(nodes):
    def run(image, crops, faces, shape="ellipse", match_colour=True, mask=None, **choices):
        node = nodes.crops.PasteFaces
        return node.execute(image, crops, faces, shape, match_colour, mask, **choices).args

    return run


@pytest.fixture
def align(nodes):
    def run(image, faces, size=SIDE):
        return nodes.crops.AlignFaces.execute(image, faces, size).args[0]

    return run


@pytest.fixture
def select(nodes):
    def run(faces, largest=0, score=0.0, smallest=0, numbers="", image=None, region=None):
        node = nodes.faces.SelectFaces
        return node.execute(faces, largest, score, smallest, numbers, image, region).args

    return run


@pytest.fixture
def typed(nodes):
    def run(image, text, faces=None) -> Faces:
        return nodes.face_points.FacesFromPoints.execute(image, text, faces).args[0]

    return run


def photo(*spots: tuple[int, int], height=320, width=300, channels=3) -> torch.Tensor:
    """An IMAGE of faint noise with a white spot at each place."""
    image = torch.rand(1, height, width, channels) * 0.6
    for x, y in spots:
        image[:, y - 4 : y + 4, x - 4 : x + 4, :3] = 1
    return image


def test_photos_with_no_one_and_two_faces(detect, align, paste, told):
    photos = torch.cat([photo(), photo(SPOTS[0]), photo(*SPOTS[1:])])
    faces = detect(photos)
    assert faces.picture.tolist() == [1, 2, 2]
    assert told[-1] == "Faces found: 3; none in photo 1."
    crops = align(photos, faces)
    assert crops.shape == (3, SIDE, SIDE, 3)
    result, mask = paste(photos, 1 - crops, faces)
    assert torch.equal(result[0], photos[0]) and not mask[0].any()
    assert (result[1:] - photos[1:]).abs().amax((1, 2, 3)).min() > 0.2
    assert torch.equal(result[mask == 0], photos[mask == 0])


def test_the_stub_lays_its_faces_where_the_spots_are(detect):
    faces = detect(photo(*SPOTS))
    middles = faces.boxes.view(-1, 2, 2).mean(1)
    nearest = torch.cdist(torch.tensor(SPOTS).float(), middles).amin(1)
    assert len(faces) == 3 and nearest.max() < 32
    assert (faces.scores > 0.99).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_unchanged_crops_give_the_photo_bit_for_bit(detect, align, paste, channels):
    photos = torch.cat([photo(*SPOTS, channels=channels), photo(channels=channels)])
    faces = detect(photos)
    result, mask = paste(photos, align(photos, faces), faces)
    assert torch.equal(result, photos.expand_as(result))
    assert len(faces) == 3 and mask.shape == (2, 320, 300) and mask.max() == 1


def test_a_photo_without_a_face_passes_through(nodes, detect, select, align, paste, told):
    image = photo(channels=4)
    faces = detect(image)
    assert told == ["No face was found: the photo stays as it is."]
    faces, preview = select(faces, largest=2, numbers="1, 3", image=image)
    assert len(faces) == 0 and preview.shape == (1, 320, 300, 3)
    crops = align(image, faces)
    assert type(crops).__name__ == "ExecutionBlocker" and crops.message is None
    assert nodes.crops.PasteFaces.check_lazy_status(image=image, faces=faces, crops=None) == []
    result, mask = paste(image, None, faces)
    assert torch.equal(result, image) and mask.shape == (1, 320, 300) and not mask.any()
    assert "passes through unchanged" in told[-1]


def test_crops_are_asked_for_where_there_are_faces(nodes, detect):
    image = photo(*SPOTS)
    given = {"image": image, "faces": detect(image), "shape": "ellipse", "match_colour": True}
    assert nodes.crops.PasteFaces.check_lazy_status(**given, crops=None) == ["crops"]
    assert nodes.crops.PasteFaces.check_lazy_status(**given, crops=image) == []
    (lazy,) = [i for i in nodes.crops.PasteFaces.define_schema().inputs if i.lazy]
    assert lazy.id == "crops"


def test_grey_stays_grey_and_alpha_is_carried(detect, align, paste):
    image = photo(*SPOTS, channels=4)
    image[..., :3] = image[..., :1]
    faces = detect(image)
    crops = align(image, faces)
    assert crops.shape[-1] == 3
    colours = crops * torch.tensor([1.0, 0.4, 0.1])
    result, _ = paste(image, colours, faces)
    assert not result[..., :3].diff().any()
    assert not torch.equal(result[..., :3], image[..., :3])
    assert torch.equal(result[..., 3], image[..., 3])


def test_a_larger_canvas(detect, align, paste):
    image = photo(*SPOTS)
    faces = detect(image)
    large = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    crops = align(image, faces)
    result, mask = paste(large, crops * 0, faces)
    assert result.shape == large.shape and mask.shape == (1, 640, 600)
    assert torch.equal(paste(large, align(large, faces), faces)[0], large)
    with pytest.raises(ValueError, match="300 x 320 pixels; one of 600 x 320 has another shape"):
        paste(large[:, :320], crops, faces)


def test_shapes_masks_and_colours(detect, align, paste):
    image = photo(*SPOTS[:2])
    faces = detect(image)
    crops = align(image, faces) * 0
    small, large = (paste(image, crops, faces, shape)[1] for shape in masks.SHAPES)
    assert (small > 0).sum() < (large > 0).sum()
    one = torch.stack([torch.ones(64, 64), torch.zeros(64, 64)])
    result, mask = paste(image, crops, faces, mask=one)
    alone, _ = paste(image, crops[:1], faces.subset([0]), mask=one[:1])
    assert torch.equal(result, alone) and mask.max() == 1
    matched, plain = (paste(image, crops, faces, match_colour=match)[0] for match in (True, False))
    assert matched.mean() > plain.mean() + 0.005


def test_an_empty_mask_is_told(detect, align, paste, told):
    image = photo(SPOTS[0])
    faces = detect(image)
    result, mask = paste(image, align(image, faces) * 0, faces, mask=torch.zeros(1, 64, 64))
    assert torch.equal(result, image) and not mask.any()
    assert told[-1].startswith("The mask is empty: nothing is pasted.")
    told.clear()
    paste(image, align(image, faces), faces, mask=torch.ones(1, 64, 64))
    assert told == []


def test_photos_beyond_those_of_the_faces_stay(detect, align, paste):
    image = photo(SPOTS[0])
    faces = detect(image)
    result, _ = paste(image.repeat(3, 1, 1, 1), align(image, faces) * 0, faces)
    assert not torch.equal(result[0], image[0])
    assert torch.equal(result[1], image[0]) and torch.equal(result[2], image[0])


def test_align_faces_bypassed_is_told(detect, paste):
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 352, 352), 33, 1).movedim(1, -1)
    image[:, 96:104, 96:104] = 1
    faces = detect(image)
    with pytest.raises(ValueError, match="the whole photo instead of a face. Align Faces seems"):
        paste(image, (image * 0.9 + 0.02 * torch.randn_like(image)).clamp(0, 1), faces)
    with pytest.raises(ValueError, match="square; these are 300 x 320 pixels. Is Align Faces"):
        paste(image, photo(), faces)


def test_detail_of_large_faces_stays_or_goes(nodes, typed, paste):
    image = 0.5 + 0.1 * torch.randn(1, 1024, 1024, 3).clamp(-4, 4)
    faces, crops = typed(image, ""), torch.full((1, SIDE, SIDE, 3), 0.5)
    kept, taken = (
        paste(image, crops, faces, detail=choice)[0][:, 400:600, 400:600].std()
        for choice in (nodes.crops.KEEP, nodes.crops.REPLACE)
    )
    assert kept > 0.08 and taken < 0.01
    (choice,) = (i for i in nodes.crops.PasteFaces.define_schema().inputs if i.id == "detail")
    assert choice.optional, "prompts of earlier versions do not name it"


def test_selecting(detect, select, told):
    image = torch.cat([photo(*SPOTS), photo(SPOTS[0])])
    faces = detect(image)
    everyone, preview = select(faces)
    assert len(everyone) == 4 and preview.shape == (2, 320, 300, 3)
    assert select(faces, largest=1)[0].picture.tolist() == [0, 1]
    assert len(select(faces, smallest=79)[0]) == 0 and len(select(faces, smallest=63)[0]) == 4
    assert len(select(faces, score=1.0)[0]) <= len(select(faces, score=0.99)[0]) == 4
    chosen, _ = select(faces, numbers=" 4,2, 4")
    assert torch.equal(chosen.boxes, faces.boxes[[3, 1]])
    region = torch.zeros(320, 300)
    region[:, :130] = 1
    inside = select(faces, region=region)[0]
    assert len(inside) == 2 and (inside.boxes[:, 2] < 200).all()
    assert told[-1] == "Faces chosen: 2 of 4."
    with pytest.raises(ValueError, match="There is no face 5: 4 were found"):
        select(faces, numbers="5")
    with pytest.raises(ValueError, match="There is no face 0"):
        select(faces, numbers="0")
    with pytest.raises(ValueError, match="Numbers of faces are written as 1, 3; got 'first'"):
        select(faces, numbers="first")
    with pytest.raises(ValueError, match="Numbers of faces are written as 1, 3; got '999"):
        select(faces, numbers="9" * 5000)
    with pytest.raises(ValueError, match="draw it on the picture itself"):
        select(faces, region=torch.ones(64, 64))


def test_the_preview_shows_boxes_on_the_picture(nodes, detect, select):
    image = photo(*SPOTS[:2]) * torch.tensor([1.0, 1.0, 0.99])
    faces = detect(image)
    shown = (select(faces, numbers="2", image=image)[1] * 255).round()
    for face, colour in enumerate((nodes.face_boxes.LEFT_OUT, nodes.face_boxes.CHOSEN)):
        x, y = faces.boxes[face, 2:].round().int().clamp(max=299).tolist()
        assert shown[0, y - 20, x].tolist() == list(colour)
    assert (shown[0, 310:] / 255 - image[0, 310:]).abs().max() < 0.01


def test_large_pictures_have_small_previews(nodes, select):
    image = torch.rand(1, 2600, 30, 3)
    _, preview = select(Faces.none(2600, 30), image=image)
    assert preview.shape == (1, 867, 10, 3)
    faces = Faces.aligned(2, 3000, 2000)
    _, preview = select(faces)  # without a picture, on grey
    assert preview.shape == (2, 1000, 667, 3)


def test_faces_of_typed_points(typed, align, paste):
    image = torch.cat([photo(), photo()])
    first, second = (TEMPLATE * 0.3 + shift for shift in (20, torch.tensor([100, 200])))
    pairs = "  ".join(f"{x:.2f}, {y:.2f}" for x, y in first.tolist())
    other = "2: " + " ".join(f"({x:.1f}; {y:.1f})" for x, y in second.tolist())
    faces = typed(image, f"\n{pairs}\n\n{other}\n")
    assert torch.allclose(faces.points, torch.stack([first, second]), atol=0.06)
    assert faces.picture.tolist() == [0, 1] and faces.scores.tolist() == [1, 1]
    assert torch.equal(paste(image, align(image, faces, 256), faces)[0], image)


@pytest.mark.parametrize("blank", ["\u00a0", "\ufeff", "\u2003"])
def test_blanks_that_the_widget_takes(typed, blank):
    line = pairs(TEMPLATE * 0.3)
    faces = typed(photo(), f"{blank}{line.replace(' ', blank)}{blank}\n{blank}\n : {line}")
    assert torch.equal(faces.points[0], faces.points[1])
    assert len(typed(photo(), blank)) == 1, "no points: the picture is a face"


def test_points_add_to_faces_that_were_found(detect, typed):
    image = torch.cat([photo(*SPOTS[:2]), photo(SPOTS[0])])
    found = detect(image)
    far, same = (pairs(TEMPLATE * 0.2 + torch.tensor(shift)) for shift in ((190, 200), (49, 55)))
    assert torch.equal(typed(image, " ", found).points, found.points)
    both = typed(image, f"2: {far}", found)
    assert both.picture.tolist() == [0, 0, 1, 1] and both.scores[3] == 1
    assert torch.equal(both.points[:3].float(), found.points.float())
    corrected = typed(image, same, found)
    assert len(corrected) == 3 and corrected.picture.tolist() == [0, 1, 0]
    small = image[:, ::2, ::2]
    assert torch.allclose(typed(small, "", found).points, found.points / 2)
    assert len(typed(image, far, Faces.none(320, 300))) == 1
    with pytest.raises(ValueError, match="another shape"):
        typed(image[:, :100], far, found)


def pairs(points: torch.Tensor) -> str:
    return "  ".join(f"{x:.1f}, {y:.1f}" for x, y in points.tolist())


def test_the_node_shows_its_photos_to_those_who_look(nodes, typed, detect, monkeypatch, tmp_path):
    import folder_paths
    from PIL import Image

    image = torch.cat([photo(SPOTS[0], height=2100, width=30), photo(height=2100, width=30)])
    run = nodes.face_points.FacesFromPoints.execute
    assert run(image, "").ui is None, "a job has nobody who looks"
    monkeypatch.setattr(nodes.host, "watched", lambda: True)
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    shown = run(image, "", Faces.aligned(2, 2100, 30)).ui
    assert shown["size"] == [30, 2100]
    assert [picture for picture, *_ in shown["found"]] == [0, 1]
    assert len(shown["photos"]) == 2
    with Image.open(tmp_path / shown["photos"][0]["filename"]) as small:
        assert small.size == (15, 1050)


def test_without_points_a_picture_is_an_aligned_face(typed, align, told):
    image = torch.rand(2, SIDE, SIDE, 3)
    assert (align(image, typed(image, " ")) - image).abs().max() < 1e-4
    assert told[-1] == "No points: each picture is taken as one aligned face."
    wide = torch.rand(1, SIDE, SIDE + 100, 3)
    assert (align(wide, typed(wide, "")) - wide[:, :, 50:-50]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1, 2, 3", r"Line 1 of the points must hold five pairs x, y \(left eye, .*got '1, 2, 3'"),
        ("\neyes and nose", "Line 2 of the points must hold five pairs"),
        ("3: 1 2 3 4 5 6 7 8 9 10", "Line 1 is of picture 3, but 1 came"),
        ("x: 1 2 3 4 5 6 7 8 9 10", "Line 1 of the points must hold five pairs"),
        ("nan 2 3 4 5 6 7 8 9 10", "A point of the face in line 1 is not a number"),
        ("5 5 5 5 5 5 5 5 5 5", "The points of the face in line 1 lie within one pixel"),
        ("900 900 950 900 925 930 905 960 945 960", "lie outside the picture of 300 x 320"),
        ("90 50 50 50 70 70 90 90 50 90", "The points of the face in line 1 form no face: their"),
        ("50 50 90 50 70 70 50 90 90 90\n\n5 5 5 5 5 5 5 5 5 5", "of the face in line 3 lie"),
    ],
)
def test_bad_points_are_told_in_a_sentence(typed, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        typed(photo(), text)


def test_bad_inputs_are_told_in_a_sentence(detect, align, paste):
    image = photo(*SPOTS)
    faces = detect(image)
    crops = align(image, faces)
    with pytest.raises(ValueError, match="2 restored crops came for 3 faces"):
        paste(image, crops[:2], faces)
    with pytest.raises(ValueError, match="The crops holds? values that are not numbers"):
        paste(image, crops * torch.nan, faces)
    with pytest.raises(ValueError, match="square; this one is 20 x 10 pixels"):
        paste(image, crops, faces, mask=torch.ones(1, 10, 20))
    with pytest.raises(ValueError, match="one for each of 3 faces"):
        paste(image, crops, faces, mask=torch.ones(2, 16, 16))
    with pytest.raises(ValueError, match="lies in picture 2, but 1 came"):
        align(image, Faces.aligned(2, 320, 300))
    with pytest.raises(TypeError, match="Align Faces needs a Faces; got a str"):
        align(image, "faces")
    with pytest.raises(ValueError, match="256"):
        align(image, Faces.aligned(1, 320, 300).subset([0] * 257))


def test_interrupted_between_photos(detect, monkeypatch):
    import comfy.model_management as mm
    import comfy.utils

    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda *_, **__: mm.interrupt_current_processing(True)
    )
    with pytest.raises(mm.InterruptProcessingException):
        detect(torch.cat([photo(), photo()]))


def test_progress_and_a_detector_that_is_kept(nodes, detect, monkeypatch):
    import comfy.utils

    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *bar, **_: seen.append(bar[:2]))
    detect(torch.cat([photo()] * 3))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert hub.named(nodes.faces.YUNET).name == nodes.faces.YUNET


def test_what_the_detector_errs_in_is_dropped(nodes, detect, monkeypatch):
    faces = detect(photo(*SPOTS))
    part = nodes.weights.load(nodes.faces.YUNET, "detector", "float32")
    part.network.bbox_head.multi_level_kps[2].conv2.bias.zero_()  # all points in one place
    assert len(faces) == 3 and len(detect(photo(*SPOTS))) == 0


def test_missing_detector_says_where_it_belongs(nodes, weights_folder, monkeypatch, tmp_path):
    import hub_server
    from restoreflow.models.transfer import FetchError

    hub_server.alone(monkeypatch, tmp_path)
    monkeypatch.setenv(hub.SETTING, "never")
    with pytest.raises(FetchError, match="RESTOREFLOW_FETCH=never forbids.*yunet"):
        nodes.faces.DetectFaces.execute(photo(), 0.7, 20)
