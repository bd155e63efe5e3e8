"""Degradations by name."""

from .degradations import PMRF_DEGRADATIONS
from .operators import Degradation, GaussianNoise


def preset(name: str) -> Degradation:
    """The preset of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no degradation {name}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


PRESETS: dict[str, Degradation] = {
    "Noise 25/255 (demo)": GaussianNoise("Gaussian noise 25/255", 25 / 255, eight_bit=True),
    "Noise 0.35 (PMRF denoising)": GaussianNoise("Gaussian noise 0.35", 0.35),
    **PMRF_DEGRADATIONS,
}
