"""Photographs that other packages ship, with seeded noise: what the demo weights are judged by."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

NOISE_STD = 25
"""Of 255."""

FIRST_SEED = 100

IN_SKIMAGE = ("skimage", "data")
IN_SKLEARN = ("sklearn", "datasets/images")
IN_MATPLOTLIB = ("matplotlib", "mpl-data/sample_data")


@dataclass(frozen=True)
class Photo:
    """A square cut from a file and brought to `side` pixels."""

    name: str
    file: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels of the file."""

    side: int
    detail: tuple[int, int]
    """Left and top, in the result, of the detail that a sheet shows enlarged."""

    home: tuple[str, str] = IN_SKIMAGE
    """The package and its folder."""

    @property
    def clean(self) -> np.ndarray:
        """uint8 [side, side, 3]."""
        package, folder = self.home
        path = Path(find_spec(package).origin).parent / folder / self.file
        picture = Image.open(path).convert("RGB").crop(self.box)
        return np.asarray(picture.resize((self.side, self.side), Image.Resampling.LANCZOS))


def add_noise(clean: np.ndarray, number: int) -> np.ndarray:
    """uint8 -> uint8: clipped and rounded; `number` is the photo's place in its set."""
    generator = np.random.default_rng(FIRST_SEED + number)
    noise = NOISE_STD * generator.standard_normal(clean.shape, dtype=np.float32)
    return np.clip(clean + noise + 0.5, 0, 255).astype(np.uint8)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """[H, W, 3], uint8 or float in [0, 1] -> [1, 3, H, W] in [0, 1]."""
    scale = 255 if pixels.dtype == np.uint8 else 1
    return torch.from_numpy(pixels / scale).permute(2, 0, 1)[None].float()


def to_pixels(image: Tensor) -> np.ndarray:
    """[1, 3, H, W] in [0, 1] -> uint8 [H, W, 3]."""
    return (255 * image[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()


def is_grey(clean: np.ndarray) -> bool:
    return bool((clean == clean[..., :1]).all())


TRIAL = (
    Photo("astronaut", "astronaut.png", (0, 0, 512, 512), 256, (60, 20)),
    Photo("cat", "chelsea.png", (75, 0, 375, 300), 288, (50, 60)),
    Photo("coffee", "coffee.png", (100, 0, 500, 400), 320, (100, 100)),
    Photo("rocket", "rocket.jpg", (106, 0, 533, 427), 320, (110, 160)),
    Photo("motorcycle", "motorcycle_left.png", (120, 0, 616, 496), 320, (110, 130)),
    Photo("camera", "camera.png", (0, 0, 512, 512), 256, (70, 30)),
    Photo("gravel", "gravel.png", (0, 0, 512, 512), 256, (80, 80)),
    Photo("brick", "brick.png", (0, 0, 512, 512), 256, (80, 80)),
)
"""The photos on which an earlier trial chose its settings."""

HELD_OUT = (
    Photo("china", "china.jpg", (106, 0, 533, 427), 320, (50, 110), IN_SKLEARN),
    Photo("flower", "flower.jpg", (106, 0, 533, 427), 320, (110, 110), IN_SKLEARN),
    Photo("hopper", "grace_hopper.jpg", (0, 20, 512, 532), 320, (110, 40), IN_MATPLOTLIB),
    Photo("tissue", "ihc.png", (0, 0, 512, 512), 256, (80, 80)),
    Photo("hubble", "hubble_deep_field.jpg", (64, 0, 936, 872), 320, (110, 110)),
    Photo("retina", "retina.jpg", (0, 0, 1411, 1411), 320, (150, 110)),
    Photo("coins", "coins.png", (40, 0, 343, 303), 288, (90, 90)),
    Photo("grass", "grass.png", (0, 0, 512, 512), 256, (80, 80)),
    Photo("moon", "moon.png", (0, 0, 512, 512), 256, (80, 80)),
)
"""Photos that chose nothing."""
