"""Photo in, photo out, without a job: what the two nodes read, carry and save."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from restoreflow.jobs import photos
from restoreflow.jobs.folders import FolderError

CHOICES = {
    "suffix": "_restored",
    "format": "as the source",
    "bits": "as the source",
    "quality": 0,
    "metadata": "keep",
    "colour": "source profile",
    "grey": "as it is",
    "embed_workflow": True,
    "sidecar": False,
    "replace": False,
}
GRAPH = {"5": {"class_type": "Flow", "inputs": {"seed": 7, "steps": 3, "weights": "x.pth"}}}


@pytest.fixture
def place(host, tmp_path, monkeypatch):
    """The host's input and output folders."""
    import folder_paths

    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def job_photo(nodes, place):
    def run(folder="", index=0, group=1, **more):
        return nodes.photos.JobPhoto.execute(folder, index, group, **more).args

    return run


@pytest.fixture
def save(nodes, place):
    """Saves as the host would call it; the names of the files in the output folder."""

    def run(image, photo=None, **choices):
        hidden = SimpleNamespace(
            unique_id="9", prompt=GRAPH, extra_pnginfo={"workflow": {"nodes": []}}
        )
        node = type("Clone", (nodes.photos.SaveRestoredPhoto,), {"hidden": hidden})
        node.execute(image, photo, **{**CHOICES, **choices})
        return sorted(p.relative_to(place / "output").as_posix() for p in files(place / "output"))

    return run


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def jpeg(path, orientation=6, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera"
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif, quality=90)


def test_a_photo_comes_back_as_it_went_in(job_photo, save, place):
    jpeg(place / "input" / "old" / "a 1.jpg")
    image, mask, photo, name, index = job_photo("old")
    assert image.shape == (1, 40, 30, 3) and mask.shape == (1, 40, 30) and not mask.any()
    assert (name, index) == ("a 1", 0)
    assert save(image, photo) == ["a 1_restored.jpg"]
    with Image.open(place / "output" / "a 1_restored.jpg") as back:
        exif = back.getexif()
        assert back.size == (30, 40) and exif[0x010F] == "A camera"
        assert exif.get(0x0112, 1) == 1
        assert b'"class_type": "Flow"' in back.info["xmp"].replace(b"&quot;", b'"')


def test_photos_are_counted_as_a_person_counts(job_photo, place):
    for number in (10, 2, 1):
        jpeg(place / "input" / f"p{number}.jpg")
    assert [job_photo(index=i)[3] for i in range(3)] == ["p1", "p2", "p10"]
    with pytest.raises(photos.PhotoError, match="no photo of number 3"):
        job_photo(index=3)


def test_a_folder_that_is_not_there(job_photo, place):
    with pytest.raises(FolderError, match="There is no folder .*nowhere: choose one with photos"):
        job_photo("nowhere")


@pytest.mark.parametrize("rows", ["x", "[", "3", '["a"]', "[true]"])
def test_rows_are_for_jobs_to_name(job_photo, rows):
    with pytest.raises(photos.PhotoError, match="Only a running job asks for photos"):
        job_photo(rows=rows)


def test_a_folder_that_is_not_allowed(job_photo, place):
    (place / "secret").mkdir()
    for folder in (str(place / "secret"), "../secret", "/"):
        with pytest.raises(FolderError, match="python run.py allow"):
            job_photo(folder)


def test_it_is_read_again_only_when_its_file_changes(nodes, place):
    fingerprint = nodes.photos.JobPhoto.fingerprint_inputs
    jpeg(place / "input" / "a.jpg")
    before = fingerprint("", 0, 1)
    assert fingerprint("", 0, 1) == before
    jpeg(place / "input" / "a.jpg", size=(50, 30))
    assert fingerprint("", 0, 1) != before
    in_job = fingerprint("", 0, 1, "1", "[5]")
    assert in_job != in_job


def test_alpha_is_carried(job_photo, save, place):
    pixels = np.full((8, 6, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[:, :3, 3] = 0
    Image.fromarray(pixels).save(place / "input" / "a.png")
    image, mask, photo, *_ = job_photo()
    assert mask[0, :, :3].eq(1).all() and mask[0, :, 3:].eq(0).all()
    save(image.repeat_interleave(2, 1).repeat_interleave(2, 2), photo)
    with Image.open(place / "output" / "a_restored.png") as back:
        alpha = np.asarray(back)[..., 3]
        assert back.size == (12, 16) and (alpha[:, 0] == 0).all() and (alpha[:, -1] == 255).all()
    save(torch.cat([image, torch.ones(1, 8, 6, 1)], -1), photo, suffix="_own")
    with Image.open(place / "output" / "a_own.png") as back:
        assert (np.asarray(back)[..., 3] == 255).all()


def test_nothing_is_written_over(job_photo, save, place):
    jpeg(place / "input" / "a.jpg", 1)
    image, _, photo, *_ = job_photo()
    save(image, photo)
    first = (place / "output" / "a_restored.jpg").read_bytes()
    assert save(1 - image, photo) == ["a_restored.jpg", "a_restored_2.jpg"]
    assert (place / "output" / "a_restored.jpg").read_bytes() == first
    save(1 - image, photo, replace=True)
    assert (place / "output" / "a_restored.jpg").read_bytes() != first


def test_without_a_photo_it_is_a_plain_png(save, place):
    assert save(torch.rand(2, 8, 8, 3)) == ["photo_restored.png", "photo_restored_2.png"]
    with Image.open(place / "output" / "photo_restored.png") as back:
        assert json.loads(back.text["prompt"]) == GRAPH and back.text["workflow"]


def test_the_graph_is_embedded_unless_it_may_not_be(save, place, monkeypatch):
    from comfy.cli_args import args

    picture = torch.rand(1, 8, 8, 3)
    save(picture, embed_workflow=False, suffix="_1")
    save(picture, metadata="strip", suffix="_2")
    monkeypatch.setattr(args, "disable_metadata", True)
    save(picture, suffix="_3")
    for number in "123":
        with Image.open(place / "output" / f"photo_{number}.png") as back:
            assert not back.info.get("prompt") and not back.info.get("workflow")


def test_the_graph_of_the_source_is_left_out(job_photo, save, place):
    info = PngInfo()
    for key in ("prompt", "workflow", "Author"):
        info.add_text(key, "{}")
    Image.new("RGB", (8, 8)).save(place / "input" / "a.png", pnginfo=info)
    image, _, photo, *_ = job_photo()
    save(image, photo, embed_workflow=False)
    with Image.open(place / "output" / "a_restored.png") as back:
        assert back.text == {"Author": "{}"}


def test_a_photo_and_pictures_are_counted_in_words(nodes):
    carried = SimpleNamespace(row=5)
    with pytest.raises(ValueError, match="got 2 pictures for 1 photo: give"):
        nodes.photo_files.matched((carried,), 2)
    with pytest.raises(ValueError, match="got 1 picture for 2 photos: give"):
        nodes.photo_files.matched((carried, carried), 1)


def test_a_note_beside_it(job_photo, save, place):
    jpeg(place / "input" / "a.jpg")
    image, _, photo, *_ = job_photo()
    assert save(image, photo, sidecar=True) == ["a_restored.jpg", "a_restored.jpg.json"]
    told = json.loads((place / "output" / "a_restored.jpg.json").read_text())
    assert told["seed"] == {"Flow (5)": 7} and told["steps"] == {"Flow (5)": 3}
    assert told["models"] == [{"file": "x.pth", "revision": None}]
    data = (place / "input" / "a.jpg").read_bytes()
    assert told["source_sha256"] == hashlib.sha256(data).hexdigest()
    assert told["source"] == "a.jpg" and len(told["graph_sha256"]) == len(told["sha256"]) == 64


def test_sixteen_bits_and_grey_stay(job_photo, save, place):
    ramp = np.linspace(0, 65535, 64 * 8).astype(np.uint16).reshape(8, 64)
    Image.fromarray(ramp).save(place / "input" / "a.tif")
    image, _, photo, *_ = job_photo()
    assert save(image, photo, grey="keep grey") == ["a_restored.tif"]
    back = photos.read(place / "output" / "a_restored.tif")
    assert back.source.bits == 16 and back.source.grey
    assert np.array_equal((back.pixels[..., 0] * 65535).round(), ramp)


def test_what_is_no_photo_wire(save):
    with pytest.raises(TypeError, match="Save Restored Photo needs"):
        save(torch.rand(1, 8, 8, 3), "a.jpg")
