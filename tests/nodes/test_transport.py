"""Fitting, applying, saving and loading transports, on the host's own wires."""

import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from restoreflow.models.contracts import Autoencoder, Domain
from restoreflow.sampling import noise
from restoreflow.sampling.transport import Transport
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

FACTOR = 2


class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0), requires_grad=False)


def autoencoder(encoder="abc", space="unshuffled") -> Autoencoder:
    """An exact one."""
    network = Gain()
    return Autoencoder(
        name="exact.safetensors",
        network=network,
        factor=FACTOR,
        multiple=FACTOR,
        domain=Domain(name=space, channels=3 * FACTOR**2, encoder=encoder),
        encoded=lambda x: (F.pixel_unshuffle(x, FACTOR) * network.gain, None),
        decoded=lambda z: F.pixel_shuffle(z / network.gain, FACTOR),
        memory=lambda *size: 1,
        decoder_memory=lambda *size: 1,
    )


def photos(count=3, seed=0, grain=0.5, size=(40, 36)):
    """IMAGEs [count, h, w, 3] of correlated noise."""
    x = noise.gaussian((3, *size), seed, range(count))
    x = 0.5 + 0.1 * (F.avg_pool2d(x, 3, 1, 1) + grain * x)
    return x.clamp(0, 1).movedim(1, -1)


@pytest.fixture
def vae(nodes, host):
    return nodes.load.vae.host_vae(autoencoder())


@pytest.fixture
def fit(nodes, host):
    def run(restored=(), natural=(), *, patch="3", folders=("", ""), vae=None, **choices):
        chosen = {"shrinkage": 0.001, "max_gain": 10.0, "mean": "keep", **choices}
        return nodes.transport.FitTransport.execute(
            [patch],
            **{name: [value] for name, value in chosen.items()},
            restored=restored,
            natural=natural,
            restored_folder=[folders[0]],
            natural_folder=[folders[1]],
            vae=[vae],
        )[0]

    return run


@pytest.fixture
def folder(nodes, host, tmp_path, monkeypatch):
    """The host's input and output folders, empty; writes photos into a folder below the first."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.delitem(folder_paths.folder_names_and_paths, "restoreflow_transports", False)
    nodes.transport_files.register_folder()
    (tmp_path / "output").mkdir()

    def fill(name, images):
        place = tmp_path / "input" / name
        place.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            levels = (image * 255).round().byte().numpy()
            Image.fromarray(levels).save(place / f"{number}.png")
        return place

    return fill


def encoded(nodes, vae, image):
    return nodes.latent.Encode.execute(vae, image, "mean", 0)[0]


def test_batches_lists_latents_and_folders_fit_alike(nodes, vae, fit, folder):
    images = (photos() * 255).round() / 255, (photos(seed=9, grain=1.0) * 255).round() / 255
    for name, image in zip(("restored", "natural"), images, strict=True):
        folder(name, image)
    batches = fit(*([image] for image in images), vae=vae)
    ways = [
        fit(*(list(image.split(1)) for image in images), vae=vae),
        fit(*([encoded(nodes, vae, image)] for image in images)),
        fit(folders=("restored", "natural"), vae=vae),
        fit([images[0]], folders=("", "natural"), vae=vae),
    ]
    for other in ways:
        assert other.domain.name == "unshuffled"
        assert (other.source.count, other.target.photos) == (batches.source.count, 3)
        torch.testing.assert_close(other.matrix, batches.matrix, rtol=0, atol=1e-6)


def test_applied_to_latents_it_gives_them_natural_statistics(nodes, vae, fit):
    restored, natural = photos(8, grain=0.1), photos(8, seed=9, grain=1.0)
    transport = fit([restored], [natural], patch="1", vae=vae, mean="match")
    latent = nodes.transport.ApplyTransport.execute(transport, encoded(nodes, vae, restored))[0]
    assert latent["restoreflow"]["space"] == "unshuffled"
    moved = nodes.latent.Decode.execute(vae, latent)[0]
    assert moved.shape == restored.shape
    assert moved.std().item() == pytest.approx(natural.std().item(), rel=0.03)


def test_in_pixels_no_vae_is_needed(nodes, fit):
    restored, natural = photos(8, grain=0.1), photos(8, seed=9, grain=1.0)
    transport = fit([restored], [natural])
    alpha = torch.rand(*restored.shape[:3], 1)
    moved = nodes.transport.ApplyTransportImage.execute(
        transport, torch.cat([restored, alpha], dim=-1)
    )[0]
    assert moved[..., :3].std().item() == pytest.approx(natural.std().item(), rel=0.1)
    assert torch.equal(moved[..., 3:], alpha)
    assert moved.min() >= 0 and moved.max() <= 1


def test_zero_shot_and_gaussian_folding_change_the_result(nodes, fit):
    transport = fit([photos(grain=0.1)], [photos(seed=9)])
    image = photos(2, seed=5, grain=0.2)
    apply = nodes.transport.ApplyTransportImage.execute
    plain = apply(transport, image)[0]
    assert not torch.equal(apply(transport, image, zero_shot=True)[0], plain)
    assert not torch.equal(apply(transport, image, fold_sigma=0.7)[0], plain)
    alone = apply(transport, image[:1], zero_shot=True)[0]
    assert torch.equal(apply(transport, image, zero_shot=True)[0][:1], alone)


def test_bad_photos_of_a_folder_are_left_out(fit, folder, monkeypatch, nodes):
    told = []
    monkeypatch.setattr(nodes.host, "tell", told.append)
    place = folder("natural", photos(seed=9))
    (place / "broken.png").write_bytes(b"")
    assert fit([photos()], folders=("", "natural")).target.photos == 3
    assert any("broken.png is left out" in text for text in told)


@pytest.mark.parametrize(
    ("restored", "natural", "choices", "told"),
    [
        ((), [photos()], {}, "no restored photos"),
        ([photos()], (), {}, "no natural photos"),
        ([photos()], [photos() * float("nan")], {}, "not numbers"),
        ([photos()], [torch.full((12, 40, 36, 3), 0.5)], {}, "natural photos are flat"),
        ([photos(size=(2, 9))], [photos()], {}, "no restored photos"),
        ([{"samples": torch.rand(1, 500, 9, 9)}], (), {"patch": "1"}, "500 channels"),
        ([{"samples": torch.rand(1, 16, 9, 9)}], (), {"patch": "7"}, "choose 5"),
        ([photos()], [{"samples": torch.rand(1, 4, 9, 9)}], {}, "come in one space"),
    ],
)
def test_what_cannot_be_fitted_is_told(fit, restored, natural, choices, told):
    with pytest.raises(ValueError, match=told):
        fit(restored, natural, **choices)


def test_latents_of_two_encoders_are_not_mixed(nodes, fit, vae):
    other = nodes.load.vae.host_vae(autoencoder("def"))
    latents = [encoded(nodes, one, photos()) for one in (vae, other)]
    with pytest.raises(ValueError, match="different encoders"):
        fit(latents[:1], latents[1:])


def test_few_patches_are_told(nodes, fit, monkeypatch):
    told = []
    monkeypatch.setattr(nodes.host, "tell", told.append)
    fit([photos(1, size=(8, 8))], [photos()])
    assert "Of the restored photos: Only 36 patches" in told[0]


def test_it_refuses_latents_of_another_space(nodes, fit, vae):
    apply = nodes.transport.ApplyTransport.execute
    transport = fit([photos()], [photos(seed=9)], vae=vae)
    others = {
        "another encoder": autoencoder("def"),
        "of the space elsewhere": autoencoder("abc", "elsewhere"),
    }
    for told, part in others.items():
        other = nodes.load.vae.host_vae(part)
        with pytest.raises(ValueError, match=told):
            apply(transport, encoded(nodes, other, photos()))
    with pytest.raises(ValueError, match="12 channels; got 4"):
        apply(transport, {"samples": torch.rand(1, 4, 9, 9)})
    with pytest.raises(ValueError, match="wire Encode"):
        nodes.transport.ApplyTransportImage.execute(transport, photos())
    in_pixels = fit([photos()], [photos(seed=9)])
    with pytest.raises(ValueError, match=r"Apply Transport \(Image\)"):
        apply(in_pixels, encoded(nodes, vae, photos()))
    with pytest.raises(TypeError, match="needs a Transport"):
        apply("no", encoded(nodes, vae, photos()))


def test_a_photo_smaller_than_a_patch_is_left_out(nodes, fit, monkeypatch):
    told = []
    monkeypatch.setattr(nodes.host, "tell", told.append)
    assert fit([photos(), photos(1, size=(2, 9))], [photos(seed=9)]).source.photos == 3
    assert "A photo of 9 x 2 is left out" in told[0]


def test_latents_of_no_known_vae_are_told(nodes, fit, vae, monkeypatch):
    told = []
    transport = fit([photos()], [photos(seed=9)], vae=vae)
    monkeypatch.setattr(nodes.host, "tell", told.append)
    nodes.transport.ApplyTransport.execute(transport, {"samples": torch.rand(1, 12, 9, 9)})
    assert "Nothing tells whether" in told[0]


def test_a_folder_that_comes_by_a_wire_is_looked_at_again(nodes, folder):
    stamp = nodes.transport.FitTransport.fingerprint_inputs
    assert stamp(restored_folder=("",), natural_folder=("",)) == []
    wired = stamp(restored_folder=(None,), natural_folder=("",))
    assert wired != wired  # not a number: never the same


def test_zero_shot_says_which_picture_has_nothing_to_fit(nodes, fit):
    transport = fit([photos()], [photos(seed=9)])
    image = torch.cat([photos(1), torch.full((1, 40, 36, 3), 0.5)])
    with pytest.raises(ValueError, match="picture 2.*switch zero_shot off"):
        nodes.transport.ApplyTransportImage.execute(transport, image, zero_shot=True)


# Files


@pytest.mark.parametrize("latent", [True, False], ids=["latents", "pixels"])
def test_a_file_holds_all_of_it(nodes, fit, vae, folder, latent):
    transport = fit([photos()], [photos(seed=9)], vae=vae if latent else None, max_gain=3.0)
    saved = nodes.transport_load.SaveTransport.execute(transport, "portraits", False)[0]
    assert saved is transport
    assert nodes.transport_files.names() == ["portraits.safetensors"]
    loaded = nodes.transport_load.LoadTransport.execute("portraits.safetensors")[0]
    assert torch.equal(loaded.matrix, transport.matrix)
    assert (loaded.keep_mean, loaded.max_gain, loaded.shrinkage) == (True, 3.0, 0.001)
    x = torch.rand(1, 12 if latent else 3, 9, 9)
    assert torch.equal(loaded.apply(x), transport.apply(x))
    assert isinstance(loaded, Transport) and loaded.domain.encoder == ("abc" if latent else None)


def test_a_file_is_not_written_over(nodes, fit, folder):
    transport = fit([photos()], [photos(seed=9)])
    path = nodes.transport_files.write(transport, "one", False)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="already"):
        nodes.transport_files.write(fit([photos(grain=0.1)], [photos()]), "one", False)
    assert path.read_bytes() == before
    nodes.transport_files.write(fit([photos(grain=0.1)], [photos()]), "one.safetensors", True)
    assert path.read_bytes() != before
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\\b", ".hidden", "nul\0", "x" * 200, "a."])
def test_names_that_lead_elsewhere_are_refused(nodes, fit, folder, name):
    with pytest.raises(ValueError, match="name is letters"):
        nodes.transport_files.write(fit([photos()], [photos(seed=9)]), name, False)


def test_other_and_damaged_files_are_told(nodes, fit, folder):
    path = nodes.transport_files.write(fit([photos()], [photos(seed=9)]), "one", False)
    tensors = load_file(path)
    check = nodes.transport_load.LoadTransport.validate_inputs
    assert check("one.safetensors") is True
    assert "There is no transport two" in check("two.safetensors")
    assert "There is no transport" in check("../../one.safetensors")

    def read(tensors, metadata):
        save_file(tensors, path, metadata)
        return nodes.transport_files.read(path)

    with pytest.raises(ValueError, match="holds no transport"):
        read(tensors, None)
    record = {"kind": nodes.transport_files.KIND, "patch": 3, "channels": 3}
    with pytest.raises(ValueError, match="damaged"):
        read(tensors, {"restoreflow": json.dumps(record)})
    record = {"kind": nodes.transport_files.KIND, "patch": 5, "channels": 3}
    with pytest.raises(ValueError, match="damaged"):
        read(tensors, {"restoreflow": json.dumps(record)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patch": 5}, "not those of 75 numbers"),
        ({"patch": float("inf")}, "damaged"),
        ({"channels": "3"}, "3 channels of pixel"),
        ({"channels": 27, "patch": 1}, "27 channels of pixel"),
        ({"space": "other", "encoder": ["a"]}, "no fingerprint"),
        ({"source": {"photos": -5, "patches": -5}}, "no photos"),
        ({"source": {"photos": 1, "patches": float("inf")}}, "damaged"),
        ({"shrinkage": None}, "damaged"),
    ],
)
def test_settings_that_do_not_fit_are_told(nodes, fit, folder, change, told):
    path = nodes.transport_files.write(fit([photos()], [photos(seed=9)]), "one", False)
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["restoreflow"])
    save_file(load_file(path), path, {"restoreflow": json.dumps({**record, **change})})
    with pytest.raises(ValueError, match=told):
        nodes.transport_files.read(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda scatter: scatter.triu(),
        lambda scatter: scatter.half(),
        lambda scatter: scatter * float("nan"),
        lambda scatter: scatter[:-1],
    ],
)
def test_tensors_that_do_not_fit_are_told(nodes, fit, folder, spoil):
    path = nodes.transport_files.write(fit([photos()], [photos(seed=9)]), "one", False)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["source.scatter"] = spoil(tensors["source.scatter"]).contiguous()
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="is damaged"):
        nodes.transport_files.read(path)
