"""The one list of model families, and loading a part from a file by what its keys say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from . import onnx
from .checkpoint import EXTENSIONS as CHECKPOINTS
from .checkpoint import Checkpoint, WeightsError, read
from .contracts import Part
from .families import demo, elir, flow_map, latent_pmrf, pmrf, restorer, taesd, yunet

POSTERIOR_MEAN = "posterior mean"
FLOW = "flow"
AUTOENCODER = "autoencoder"
DETECTOR = "detector"

EXTENSIONS = (*CHECKPOINTS, onnx.EXTENSION)
"""Of the files that `load` takes."""


@dataclass(frozen=True)
class Family:
    """One paper's way of storing its networks."""

    name: str
    roles: Mapping[str, tuple[Callable[[Checkpoint], bool], Callable[[Checkpoint], Part]]]
    """Role -> (whether the file holds it, how to load it)."""


FAMILIES = (
    Family(
        "RestoreFlow demo",
        {POSTERIOR_MEAN: (demo.has_mean, demo.load_mean), FLOW: (demo.has_flow, demo.load_flow)},
    ),
    Family(
        "PMRF",
        {POSTERIOR_MEAN: (pmrf.has_mean, pmrf.load_mean), FLOW: (pmrf.has_flow, pmrf.load_flow)},
    ),
    Family(
        "Latent-PMRF",
        {
            AUTOENCODER: (latent_pmrf.has_autoencoder, latent_pmrf.load_autoencoder),
            FLOW: (latent_pmrf.has_flow, latent_pmrf.load_flow),
        },
    ),
    Family(
        "ELIR",
        {
            AUTOENCODER: (elir.has_autoencoder, elir.load_autoencoder),
            POSTERIOR_MEAN: (elir.has_mean, elir.load_mean),
            FLOW: (elir.has_flow, elir.load_flow),
        },
    ),
    Family("flow-map denoiser", {FLOW: (flow_map.has_flow, flow_map.load_flow)}),
    Family("YuNet", {DETECTOR: (yunet.has_detector, yunet.load_detector)}),
    Family("TAESD", {AUTOENCODER: (taesd.has_autoencoder, taesd.load_autoencoder)}),
    Family("image restoration (spandrel)", {POSTERIOR_MEAN: (restorer.is_one, restorer.load)}),
)


def _built(checkpoint: Checkpoint, family: Family, role: str, build) -> Part:
    """The part, or one sentence whatever oddity of the file was met."""
    try:
        return build(checkpoint)
    except WeightsError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise WeightsError(
            f"{checkpoint.name} looks like the {role} of {family.name}, but its tensors or "
            f"settings do not fit it ({' '.join(str(error).split())[:200]})."
        ) from error


def load(path: Path, role: str, ema: bool = True) -> Part:
    """Load the part that plays `role` from a weight file, on the CPU, in the file's precision.

    Args:
        ema: take the moving averages of the weights where a training checkpoint holds both.

    Raises:
        WeightsError: the file cannot be read, is of no known family, or plays other roles only.
    """
    checkpoint = onnx.read(path) if path.suffix.lower() == onnx.EXTENSION else read(path, ema)
    held = []
    for family in FAMILIES:
        for name, (holds, build) in family.roles.items():
            if name == role and holds(checkpoint):
                # Modules draw initial weights before they load theirs; that is nobody's seed.
                with torch.random.fork_rng(devices=[]):
                    return _built(checkpoint, family, role, build)
        held += [f"the {name} of {family.name}" for name, (holds, _) in family.roles.items()
                 if name != role and holds(checkpoint)]  # fmt: skip
    if held:
        raise WeightsError(
            f"{checkpoint.name} holds {' and '.join(held)}, but no {role}; "
            f"choose another file, or the loader for what it holds."
        )
    first = ", ".join(list(checkpoint.shapes)[:3])
    known = ", ".join(family.name for family in FAMILIES if role in family.roles)
    raise WeightsError(
        f"{checkpoint.name} is of no family known as a {role} ({known}); "
        f"its first keys are {first}."
    )
