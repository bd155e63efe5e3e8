"""Before / After: what it hands to the canvas."""

from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture
def shown(nodes, tmp_path, monkeypatch):
    """The pictures that the node shows of two images, by the keys of its answer."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    (node,) = (one for one in nodes.NODES if one.__name__ == "BeforeAfter")

    def show(before: torch.Tensor, after: torch.Tensor) -> dict[str, list[Image.Image]]:
        told = node.execute(before, after).ui
        assert {one["type"] for files in told.values() for one in files} == {"temp"}
        return {
            key: [Image.open(Path(tmp_path, one["subfolder"], one["filename"])) for one in files]
            for key, files in told.items()
        }

    return show


def test_batches_and_sizes_may_differ(shown):
    pictures = shown(torch.rand(3, 8, 12, 3), torch.rand(1, 32, 48, 3))
    assert [one.size for one in pictures["before_images"]] == [(12, 8)] * 3
    assert [one.size for one in pictures["after_images"]] == [(48, 32)]
    assert "images" not in pictures, "the host would draw a preview of its own"


def test_alpha_is_kept_and_grey_is_shown(shown):
    pictures = shown(torch.full((1, 8, 8, 4), 0.5), torch.full((1, 8, 8, 1), 1.0))
    (before,), (after,) = pictures["before_images"], pictures["after_images"]
    assert before.mode == "RGBA" and before.getpixel((0, 0))[3] in (127, 128)
    assert after.mode == "RGB" and after.getpixel((0, 0)) == (255, 255, 255)


def test_every_run_has_names_of_its_own(shown):
    image = torch.rand(1, 8, 8, 3)
    names = [shown(image, image)["before_images"][0].filename for _ in range(2)]
    assert names[0] != names[1]
