"""Compare Folders: what is read, how, and that a few photos are called few."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from restoreflow.jobs.folders import FolderError


class Means(torch.nn.Module):
    """Stands for Inception: the mean levels of the three colours."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, pictures):
        assert pictures.dtype == torch.uint8 and pictures.shape[1:] == (3, 299, 299)
        self.seen.append(len(pictures))
        return (pictures.float().mean((2, 3)) * self.weight,)


@pytest.fixture
def place(host, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path))
    return tmp_path / "input"


@pytest.fixture
def compare(nodes, host, place, monkeypatch):
    network = Means()
    library = SimpleNamespace(FeatureExtractorInceptionV3=lambda kind, layers: network)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", library)
    nodes.libraries._inception.cache_clear()

    def run(folder="a", reference="b", limit=0):
        return nodes.folder_distance.CompareFolders.execute(folder, reference, limit).args

    run.seen = network.seen
    yield run
    nodes.libraries._inception.cache_clear()


def fill(folder, levels, size=(40, 30)):
    folder.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate(levels):
        pixels = np.full((size[1], size[0], 3), level, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_sets_apart_by_a_shift(compare, place):
    levels = np.random.default_rng(0).integers(50, 150, 20)
    fill(place / "a", levels)
    fill(place / "b" / "sub", levels + 10, (64, 80))
    fid, kid, report = compare()
    assert fid == pytest.approx(300, rel=1e-3), "three colours, 10 levels each"
    assert kid > 0 and "of 20 and 20 photos" in report and "mostly bias" in report
    assert compare.seen == [16, 4, 16, 4]
    assert compare(reference="a")[0] == pytest.approx(0, abs=1e-3)
    assert "of 5 and 5 photos" in compare(limit=5)[2]


def test_a_bad_photo_is_left_out(compare, place):
    for name in "ab":
        fill(place / name, [10, 20, 30])
    (place / "a" / "bad.jpg").write_bytes(b"bad")
    assert "of 3 and 3 photos" in compare()[2]


def test_only_allowed_folders_with_photos(compare, place, tmp_path):
    fill(place / "a", [1, 2])
    fill(tmp_path / "secret", [1, 2])
    with pytest.raises(FolderError, match="not in a folder that jobs may use"):
        compare(reference=str(tmp_path / "secret"))
    fill(place / "one", [1])
    with pytest.raises(ValueError, match="The folder one has 1 photos; a set needs at least 2"):
        compare(reference="one")
    for number in range(3):
        (place / "one" / f"{number}.jpg").write_bytes(b"bad")
    with pytest.raises(ValueError, match="Of 4 photos in one, 1 can be read"):
        compare(reference="one")


def test_a_changed_folder_is_measured_anew(nodes, place):
    fingerprint = nodes.folder_distance.CompareFolders.fingerprint_inputs
    fill(place / "a", [1, 2])
    before = fingerprint("a", "a", 0)
    assert fingerprint("a", "a", 0) == before
    fill(place / "a", [1, 2, 3])
    assert fingerprint("a", "a", 0) != before


def test_without_the_library(nodes, host, place, monkeypatch):
    for name in "ab":
        fill(place / name, [10, 20, 30])
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    nodes.libraries._inception.cache_clear()
    with pytest.raises(nodes.libraries.MissingLibraryError, match="pip install torch-fidelity"):
        nodes.folder_distance.CompareFolders.execute("a", "b", 0)


def test_the_real_network_of_random_weights(nodes, host, place, monkeypatch):
    """Against torchmetrics where both libraries are installed; weights come from the network."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    metrics = pytest.importorskip("torchmetrics.image")
    monkeypatch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: None)
    kind = fidelity.FeatureExtractorInceptionV3
    monkeypatch.setattr(kind, "load_state_dict", lambda self, state: None)
    nodes.libraries._inception.cache_clear()
    inception = nodes.libraries.inception().network

    class Few(torch.nn.Module):
        """The first features only: roots of 2048 x 2048 matrices take their time."""

        num_features = 40

        def forward(self, pictures):
            return inception(pictures)[0][:, :40]

    theirs = [
        metrics.fid.FrechetInceptionDistance(Few()).set_dtype(torch.float64),
        metrics.kid.KernelInceptionDistance(Few(), subsets=1, subset_size=4),
    ]
    rng = np.random.default_rng(0)
    for name, top in (("a", 255), ("b", 200)):
        pictures = rng.integers(0, top, (4, 299, 299, 3), np.uint8)
        (place / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(place / name / f"{number}.png")
        for one in theirs:
            one.update(torch.from_numpy(pictures).movedim(-1, 1), real=name == "a")
    few = Few()
    monkeypatch.setattr(nodes.folder_distance, "_inception", lambda: few)
    fid, kid, _ = nodes.folder_distance.CompareFolders.execute("a", "b", 0).args
    assert fid == pytest.approx(theirs[0].compute().item(), rel=1e-4)
    assert kid == pytest.approx(theirs[1].compute()[0].item(), rel=1e-3, abs=1e-7)
    nodes.libraries._inception.cache_clear()
