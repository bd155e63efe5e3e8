"""Networks that judge pictures, from optional libraries: nothing here is a requirement.

The libraries fetch their own weights on first use. What they load moves and is freed as the pack's
own parts are.
"""

import importlib
from functools import lru_cache
from types import ModuleType

from torch import Tensor

from ..models.contracts import Part
from ..sampling.judging import piecewise
from . import host

FIDELITY = "torch-fidelity"
"""Apache-2.0; needs nothing that ComfyUI does not bring."""
PYIQA = "pyiqa"
"""Noncommercial since 0.1.16; brings some thirty packages."""
SMALLEST = {"lpips": 32, "niqe": 96, "musiq": 32}
INCEPTION_SIDE = 299


class MissingLibraryError(RuntimeError):
    """An optional library, or its weights, are not there; one sentence says what to do."""


def lpips(image: Tensor, reference: Tensor) -> Tensor:
    """LPIPS with VGG's features, [B] (Zhang et al. 2018): 0 for equal pictures.

    Args:
        image, reference: [B, 3, H, W] in [0, 1].

    Raises:
        MissingLibraryError: torch-fidelity or its weights are not there.
        ValueError: the pictures are smaller than 32 pixels.
    """
    part = _lpips()
    return _judged(
        "lpips", part, lambda *pair: part.network(*(255 * x for x in pair)), image, reference
    )


def without_reference(name: str, image: Tensor) -> Tensor:
    """NIQE (the lower the better) or MUSIQ (the higher the better), [B].

    Raises:
        MissingLibraryError: pyiqa or its weights are not there.
        ValueError: the pictures are too small.
    """
    part = _pyiqa(name)
    return _judged(name, part, part.network, image.clamp(0, 1))


def inception() -> Part:
    """The network of FID and KID: bytes [B, 3, 299, 299] -> ([B, 2048],).

    Raises:
        MissingLibraryError: torch-fidelity or its weights are not there.
    """
    return _inception()


def _judged(name: str, part: Part, network, *pictures: Tensor) -> Tensor:
    machine = host.ready(part, pictures[0][:1])

    def measure(*crops: Tensor) -> Tensor:
        machine.before_call()
        return network(*(crop.to(part.device) for crop in crops))

    return piecewise(measure, *pictures, smallest=SMALLEST[name], name=name.upper())


@lru_cache(maxsize=1)
def _lpips() -> Part:
    module = _found("torch_fidelity.sample_similarity_lpips", FIDELITY, "LPIPS")
    network = _loaded("LPIPS", FIDELITY, lambda: module.SampleSimilarityLPIPS("lpips-vgg16"))
    return Part(name="LPIPS", network=network, memory=lambda h, w, b, dtype: 2000 * h * w * b)


@lru_cache(maxsize=1)
def _inception() -> Part:
    module = _found("torch_fidelity.feature_extractor_inceptionv3", FIDELITY, "FID and KID")
    kind, layer = "inception-v3-compat", "2048"
    network = _loaded(
        "FID and KID", FIDELITY, lambda: module.FeatureExtractorInceptionV3(kind, [layer])
    )
    return Part(name="Inception", network=network, memory=lambda h, w, b, dtype: 400 * h * w * b)


@lru_cache(maxsize=2)
def _pyiqa(name: str) -> Part:
    module = _found("pyiqa", PYIQA, name.upper())
    network = _loaded(name.upper(), PYIQA, lambda: module.create_metric(name, device="cpu"))
    return Part(name=name.upper(), network=network, memory=lambda h, w, b, dtype: 1500 * h * w * b)


def _found(module: str, package: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(
            f"{what} needs the optional library {package}; install it into the Python that runs "
            f"ComfyUI with: python -m pip install {package} ({error})"
        ) from error


def _loaded(what: str, package: str, make):
    """What a library makes of weights that it fetches by itself."""
    try:
        return make().eval().requires_grad_(False)
    except OSError as error:
        raise MissingLibraryError(
            f"{package} could not fetch the weights of {what}: connect to the internet once, or "
            f"copy torch's hub folder from a machine that has them ({error})."
        ) from error
