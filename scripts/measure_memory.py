"""The memory that parts ask for, beside what calls of them hold.

python scripts/measure_memory.py [--families NAME ...] [--sides 256 512 ...] with the environment's
Python (`run.py` makes it). Random weights of the published shapes, on the CPU, by torch's profiler:
what a call holds at most beyond the weights and its input.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pack  # noqa: F401 - makes restoreflow importable
import torch
from bench_attention import peak_bytes
from bench_systems import (
    DEMO,
    FLOW_MAP,
    NATIVE,
    WINDOW,
    elir_weights,
    pmrf_weights,
    random_state,
)
from golden import as_checkpoint
from restoreflow.models import checkpoint as files
from restoreflow.models.contracts import Autoencoder, Flow, Memory, Part, PosteriorMean
from restoreflow.models.families import demo, elir, flow_map, latent_pmrf, pmrf, restorer
from restoreflow.models.networks.looformer import LooUFormer
from restoreflow.models.networks.simvae import SimVAE
from restoreflow.models.networks.song_unet import SongUNet, SongUNetShape
from torch import Tensor

FACTOR = 8
"""Pixels a latent's side, of all families whose parts work on latents."""
SIDES = (256, 384, 512, 1024)
THREADS = 2

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A call of a part."""

    name: str
    part: Part
    call: Callable[[Tensor], object]
    memory: Memory
    channels: int
    factor: int = 1
    """Pixels a side of what the call takes."""

    def measured(self, side: int, batch: int, dtype: torch.dtype) -> tuple[int, int]:
        """Bytes that a call holds, and those that the part asks for."""
        self.part.cast(dtype)
        side //= self.factor
        x = torch.rand(batch, self.channels, side, side)
        threads = torch.get_num_threads()
        torch.set_num_threads(THREADS)  # each has memory of its own
        try:
            with torch.inference_mode():
                held = peak_bytes(lambda: self.call(x))
        finally:
            torch.set_num_threads(threads)
        return held, self.memory(side, side, batch, dtype)


def flow_case(name: str, part: Flow, factor: int = 1) -> Case:
    def call(x: Tensor) -> Tensor:
        return part.velocity(x, 0.5, 0.5)

    return Case(name, part, call, part.memory, part.domain.channels, factor)


def mean_case(name: str, part: PosteriorMean, factor: int = 1) -> Case:
    return Case(name, part, part.estimate, part.memory, part.domain.channels, factor)


def autoencoder_cases(name: str, part: Autoencoder) -> Iterator[Case]:
    yield Case(f"{name} encoder", part, part.encode, part.memory, 3)
    channels = part.domain.channels
    yield Case(f"{name} decoder", part, part.decode, part.decoder_memory, channels, part.factor)


def pmrf_cases() -> Iterator[Case]:
    file = as_checkpoint({"": pmrf_weights(NATIVE)})
    yield mean_case("PMRF mean", pmrf.load_mean(file))
    yield flow_case("PMRF flow", pmrf.load_flow(file))


def elir_cases() -> Iterator[Case]:
    file = as_checkpoint({"": elir_weights(NATIVE)})
    yield from autoencoder_cases("ELIR", elir.load_autoencoder(file))
    yield mean_case("ELIR mean", elir.load_mean(file), FACTOR)
    yield flow_case("ELIR flow", elir.load_flow(file), FACTOR)


def latent_pmrf_cases() -> Iterator[Case]:
    vae = random_state(SimVAE(NATIVE.simvae))
    yield from autoencoder_cases("Sim-VAE", latent_pmrf.load_autoencoder(as_checkpoint({"": vae})))
    levels = NATIVE.looformer
    kinds = ["neighborhood" if level.kernel_size else "global" for level in levels]
    config = {"block_types": kinds, "window_sizes": [WINDOW] * len(kinds)}
    state = random_state(LooUFormer(levels, NATIVE.mapping, NATIVE.latents))
    flow = latent_pmrf.load_flow(as_checkpoint({"": state}, config))
    yield flow_case("Latent-PMRF flow", flow, FACTOR)


def flow_map_cases() -> Iterator[Case]:
    widths = (128, 256, 384, 512)  # of the published network for 128 px
    shape = SongUNetShape(3, 128, 128, widths, 3, (16,), 256, 512, 4)
    state = {flow_map.PREFIX + name: t for name, t in random_state(SongUNet(shape)).items()}
    yield flow_case("Flow map", flow_map.load_flow(as_checkpoint({"": state})))


def demo_cases() -> Iterator[Case]:
    file = files.read(DEMO)
    yield mean_case("Demo mean", demo.load_mean(file))
    yield flow_case("Demo flow", demo.load_flow(file))
    yield flow_case("Demo flow map", demo.load_flow(files.read(FLOW_MAP)))


def restorer_cases() -> Iterator[Case]:
    """Real-ESRGAN's two networks, fourfold."""
    for name, shapes in (("ESRGAN", esrgan_shapes()), ("Compact", compact_shapes())):
        state = {key: 0.02 * torch.randn(shape) for key, shape in shapes.items()}
        yield mean_case(name, restorer.build(state, name), factor=4)


def esrgan_shapes(width: int = 64, growth: int = 32, blocks: int = 23) -> dict[str, Shape]:
    dense = {f"conv{k + 1}": (width + k * growth, growth if k < 4 else width) for k in range(5)}
    convolutions = {
        "conv_first": (3, width),
        **{f"body.{b}.rdb{r}.{name}": io
           for b in range(blocks) for r in (1, 2, 3) for name, io in dense.items()},
        **dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (width, width)),
        "conv_last": (width, 3),
    }  # fmt: skip
    return of_convolutions(convolutions)


def compact_shapes(width: int = 64, convolutions: int = 32, scale: int = 4) -> dict[str, Shape]:
    inner = range(2, 2 + 2 * convolutions, 2)
    layers = {"body.0": (3, width), **{f"body.{i}": (width, width) for i in inner},
              f"body.{inner.stop}": (width, 3 * scale**2)}  # fmt: skip
    activations = {f"body.{i + 1}.weight": (width,) for i in (0, *inner)}
    return {**of_convolutions(layers), **activations}


def of_convolutions(layers: dict[str, tuple[int, int]]) -> dict[str, Shape]:
    """Of 3x3 convolutions: name -> (inputs, outputs)."""
    shapes: dict[str, Shape] = {}
    for name, (inputs, outputs) in layers.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, 3, 3), (outputs,)
    return shapes


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "pmrf": pmrf_cases,
    "elir": elir_cases,
    "latent": latent_pmrf_cases,
    "map": flow_map_cases,
    "demo": demo_cases,
    "restorers": restorer_cases,
}
"""By the names of the command line."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="of pictures, in px")
    asked = parser.parse_args()
    for family in asked.families:
        torch.manual_seed(0)
        for case in FAMILIES[family]():
            for dtype in (d for d in case.part.dtypes if d != torch.float16):
                for side, batch in [*((side, 1) for side in asked.sides), (min(asked.sides), 4)]:
                    held, asked_for = case.measured(side, batch, dtype)
                    print(f"{case.name}, {str(dtype)[6:]}, {batch} of {side} px: "
                          f"{held / 2**20:.1f} MB, asked for {asked_for / 2**20:.1f} "
                          f"({asked_for / held - 1:+.0%})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
