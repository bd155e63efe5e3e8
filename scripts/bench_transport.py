"""Deep Optimal Transport beside the VAE that it works in: what fitting and applying add.

python scripts/bench_transport.py [--side 512] [--repeats N], with the environment's Python
(`run.py` makes it). Sim-VAE of 16 channels with random weights, patches of 5, float32 networks on
the CPU; everything takes turns in one run, medians are compared. The ratios are the result.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import pack  # noqa: F401 - makes restoreflow importable
import torch
from bench_attention import median_seconds
from golden import as_checkpoint
from restoreflow.models.contracts import Autoencoder
from restoreflow.models.families import latent_pmrf
from restoreflow.models.networks.simvae import SimVAE, SimVAEShape
from restoreflow.sampling import autoencode
from restoreflow.sampling.statistics import Statistics
from restoreflow.sampling.transport import Transport, fitted
from torch import Tensor

PATCH = 5
PHOTOS = 12
WHOLE = 2**14
"""A tile larger than any picture here."""


def sim_vae() -> Autoencoder:
    """The published shape, with random weights."""
    return latent_pmrf.load_autoencoder(as_checkpoint({"": SimVAE(SimVAEShape()).state_dict()}))


def transport(part: Autoencoder, side: int) -> Transport:
    """Fitted on noise of the latents' size."""
    size = (PHOTOS, part.domain.channels, side // part.factor, side // part.factor)
    sets = [Statistics.of(gain * torch.randn(size), PATCH) for gain in (1.0, 1.2)]
    both = {"source": sets[0], "target": sets[1]}
    return Transport(name="bench", domain=part.domain, **both, shrinkage=0.001)


def calls(part: Autoencoder, side: int) -> dict[str, Callable[[], Tensor]]:
    picture = torch.rand(1, 3, side, side)
    latent = autoencode.encode(part, picture, tile=WHOLE)
    moved = fitted(transport(part, side))
    return {
        "encode and decode": lambda: autoencode.decode(
            part, autoencode.encode(part, picture, tile=WHOLE), tile=WHOLE
        ),
        "fit, a photo": lambda: Statistics.of(latent, PATCH).mean,
        "fit, the map, once": lambda: replace(moved).matrix,
        "apply": lambda: moved.apply(latent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    choice = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {choice.side} px")
    with torch.inference_mode():
        seconds = median_seconds(calls(sim_vae(), choice.side), choice.repeats)
    whole = seconds["encode and decode"]
    print(f"{'':<20}{'seconds':>9}{'of the VAE':>12}")
    for name, time in seconds.items():
        print(f"{name:<20}{time:>9.3f}{time / whole:>12.1%}")


if __name__ == "__main__":
    main()
