"""ELIR's network for faces, as this pack runs it, beside the published structure.

python scripts/bench_elir.py [--side 512] [--repeats N], with the environment's Python (`run.py`
makes it). Random weights of the full size, float32, one run: the forms take turns, medians are
compared. Times are of this machine and say nothing alone; the ratios are the result. Peak memory
is what torch allocated beyond the inputs, by its profiler.
"""

import argparse
import copy
from collections.abc import Callable
from typing import NamedTuple

import pack  # noqa: F401 - makes restoreflow importable
import torch
from bench_attention import report
from golden import as_checkpoint
from restoreflow.models.contracts import Autoencoder, Flow, PosteriorMean
from restoreflow.models.families import elir
from restoreflow.models.networks import lunet, rrdb
from restoreflow.models.networks.taesd import TAESD
from restoreflow.sampling import autoencode, restore
from torch import Tensor, nn

CHANNELS, FACTOR = 16, 8
WIDENED = 4
"""How much wider an over-parametrised convolution is inside (facts of the published training)."""


class Networks(NamedTuple):
    """As published, before anything is made of them."""

    autoencoder: TAESD
    mean: nn.Module
    flow: nn.Module

    def to(self, layout: torch.memory_format) -> "Networks":
        """Copies whose weights lie in memory as `layout` says."""
        return Networks(*(copy.deepcopy(network).to(memory_format=layout) for network in self))


class Parts(NamedTuple):
    """As the pack loads them."""

    autoencoder: Autoencoder
    mean: PosteriorMean
    flow: Flow


def random_networks() -> Networks:
    """Blind face restoration's, over-parametrised, with weights that keep a signal's size."""
    flow = lunet.LUnet(CHANNELS, width=128, multiples=(1, 2, 1, 2), middle=3, time_dim=160)
    mean = rrdb.RRDBNet(CHANNELS, hidden=96, blocks=3)
    networks = Networks(TAESD(64, CHANNELS, 3), over_parametrised(mean), over_parametrised(flow))
    for network in networks:
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
            elif name.endswith("bias"):
                nn.init.normal_(weight, std=0.05)
        network.eval().requires_grad_(False)
    return networks


def over_parametrised(network: nn.Module) -> nn.Module:
    """Every block's 3x3 convolution as a wide one and a 1x1 that narrows, under published names."""
    for module in network.modules():
        if isinstance(module, (lunet.Block, rrdb.Convolution)):
            layers = [part for layer in module.block for part in widened(layer)]
            module.block = nn.Sequential(*layers)
    return network


def widened(layer: nn.Module) -> list[nn.Module]:
    if not isinstance(layer, nn.Conv2d):
        return [layer]
    inside = WIDENED * layer.out_channels
    return [
        nn.Conv2d(layer.in_channels, inside, 3, padding=1),
        nn.Conv2d(inside, layer.out_channels, 1),
    ]


def loaded(networks: Networks) -> Parts:
    """What the pack makes of a file with these weights: it collapses them."""
    autoencoder, mean, flow = networks
    halves = {"enc.": autoencoder.encoder, "dec.": autoencoder.decoder}
    parts = {**halves, "mmse.": mean, "fmir.": flow}
    states = {prefix: network.state_dict() for prefix, network in parts.items()}
    checkpoint = as_checkpoint(states)
    loaders = (elir.load_autoencoder, elir.load_mean, elir.load_flow)
    return Parts(*(load(checkpoint) for load in loaders))


def ours(parts: Parts, picture: Tensor, noise: Tensor) -> Tensor:
    """The nodes' way: encode, posterior mean, sample, decode."""
    latent = autoencode.encode(parts.autoencoder, picture)
    mean = restore.posterior_mean(parts.mean, latent)
    return autoencode.decode(parts.autoencoder, restore.sample(parts.flow, mean, noise))


def published(networks: Networks, picture: Tensor, noise: Tensor, flow: Flow) -> Tensor:
    """The authors' inference, its noise and steps those of `flow`."""
    autoencoder, mean, velocity = networks
    z = follow(mean, velocity, autoencoder.encoder(picture), flow.noise_std * noise, flow.steps)
    return autoencoder.decoder(z).clamp(0, 1)


def follow(mean: nn.Module, velocity: nn.Module, z: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Posterior mean and flow of latents; the time is embedded anew at every step."""
    z = mean(z) + noise
    for i in range(steps):
        z = z + velocity(z, torch.tensor([i / steps])) / steps
    return z


def pipelines(parts: Parts, side: int) -> dict[str, Callable[[], Tensor]]:
    """From picture to picture."""
    plain = Networks(*(part.network for part in parts)).to(torch.contiguous_format)
    picture = torch.rand(1, 3, side, side)
    noise = torch.randn(1, CHANNELS, side // FACTOR, side // FACTOR)
    return {
        "ours": lambda: ours(parts, picture, noise),
        "published": lambda: published(plain, picture, noise, parts.flow),
    }


def collapsing(networks: Networks, parts: Parts, side: int) -> dict[str, Callable[[], Tensor]]:
    """Posterior mean and one step of the flow."""
    latent, noise = torch.randn(2, 1, CHANNELS, side // FACTOR, side // FACTOR)
    noise = parts.flow.noise_std * noise
    _, mean, flow = networks
    return {
        "ours": lambda: follow(parts.mean.network, parts.flow.network, latent, noise, 1),
        "not collapsed": lambda: follow(mean, flow, latent, noise, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="of the picture; a multiple of 32")
    parser.add_argument("--repeats", type=int, default=5)
    choice = parser.parse_args()
    side = choice.side
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    with torch.inference_mode():
        networks = random_networks()
        parts = loaded(networks)
        calls = pipelines(parts, side)
        report(f"ELIR for faces, {side} x {side} px", calls, choice.repeats, 0)
        calls = collapsing(networks, parts, side)
        title = f"Posterior mean and one step of the flow, {side // FACTOR} x {side // FACTOR}"
        report(f"{title} latents", calls, choice.repeats, 0)


if __name__ == "__main__":
    main()
