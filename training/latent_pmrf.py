"""A small Latent-PMRF (Luo et al. 2025, arXiv 2507.00447) for the demo's Gaussian noise.

Stages: pictures; a Sim-VAE; the latents of the clean pictures and of their posterior means; a flow
from these to those; one file. The posterior mean is the demo denoiser's own, in its own file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..models import registry
from ..models.checkpoint import fingerprint
from ..models.networks.hdit import Level, Mapping
from ..models.networks.looformer import LooUFormer, Options
from ..models.networks.simvae import SimVAE, SimVAEShape
from .denoiser import WEIGHTS as DENOISER
from .fit import Recipe, fit
from .pictures import CALM, RICH
from .stages import drawn, kept, pin_plan, training_record, write
from .task import TASK, draw_crops, restore_all, to_tensor

WEIGHTS = DENOISER.with_name("demo-latent-pmrf-25.safetensors")
SPACE = "RestoreFlow demo c16 f4"
KL_WEIGHT = 1e-6
"""On the divergence summed over a crop's latents, as in the paper. Ten times as much, which counts
for our smaller crops what the paper's counts for its own, switched half of the latents off."""
SOURCE_STD = 0.1
"""Noise added to the source, in latents of unit variance."""
SHAPE = SimVAEShape(widths=(16, 32, 64), depth=1, middle_depth=1, channels=16)
"""A factor of 4: at 8, with 32 channels and one more level of 64, the same training gave held-out
pictures back at 32.4 dB instead of 40.2."""
LEVELS = (
    Level(width=48, depth=1, heads=3, d_ff=128, kernel_size=7),
    Level(width=80, depth=3, heads=5, d_ff=256, kernel_size=None),
)
ENLARGED = (1, 2, 4)
"""Crops of a batch are so many times the recipe's side, and fewer: positions in the network count
in shares of the picture, so it must meet pictures of several sizes."""
MAPPING = Mapping(width=96, depth=1, d_ff=256)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, apart from the machine's arithmetic."""

    pictures: int = 1600
    calm_pictures: int = 800
    held_out: int = 40
    side: int = 256
    seed: int = 2026
    autoencoder: Recipe = Recipe(steps=4_000, rate=2e-3, clip=0.5)
    encoded: int = 1200
    """Pictures, half of them calm, whose latents the flow learns from."""
    flow: Recipe = Recipe(steps=6_000, rate=1e-3, clip=0.5, crop=16)


def autoencoder_loss(
    net: SimVAE, pictures: np.ndarray, recipe: Recipe, device: torch.device, generator: Generator
) -> Tensor:
    """Absolute error of a draw's reconstruction, and a little divergence from the normal."""
    (clean,) = draw_crops((pictures,), recipe, generator)
    x = (2 * clean - 1).to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        mean, std = net.encode(x)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        back = net.decode(mean + std * noise)
    mean, std = mean.float(), std.float()
    divergence = (mean.square() + std.square() - 1).sum() / 2 - std.log().sum()
    return F.l1_loss(back.float(), x) + KL_WEIGHT * divergence / len(x)


def draw_latents(
    arrays: tuple[np.ndarray, ...], recipe: Recipe, generator: Generator
) -> list[Tensor]:
    """The same random crops of each array of latents [N, C, h, w], never flipped: the latent of a
    flipped picture is not the flipped latent."""
    count, _, height, width = arrays[0].shape
    limits = (count, height - recipe.crop + 1, width - recipe.crop + 1)
    places = [
        torch.randint(below, (recipe.batch,), generator=generator).tolist() for below in limits
    ]
    crop = recipe.crop

    def cut(array: np.ndarray) -> Tensor:
        pieces = [array[n, :, y : y + crop, x : x + crop] for n, y, x in zip(*places, strict=True)]
        return torch.from_numpy(np.stack(pieces)).float()

    return [cut(array) for array in arrays]


def flow_loss(
    net: LooUFormer, clean: np.ndarray, means: np.ndarray, recipe: Recipe, device: torch.device,
    generator: Generator,
) -> Tensor:  # fmt: skip
    """Mean squared error of the velocity; the network tells source minus target at sigma."""
    enlarged = ENLARGED[torch.randint(len(ENLARGED), (), generator=generator)]
    sizes = replace(recipe, crop=recipe.crop * enlarged, batch=recipe.batch // enlarged**2)
    target, mean = draw_latents((clean, means), sizes, generator)
    source = mean + SOURCE_STD * torch.randn(mean.shape, generator=generator)
    batch = len(target)
    sigma = torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)
    sigma = sigma / batch
    state = torch.lerp(target, source, sigma[:, None, None, None])
    # On a CPU, attention over so few tokens and depthwise convolutions take twice as long in half.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        velocity = net(state.to(device), sigma.to(device))
    return F.mse_loss(velocity.float(), (source - target).to(device))


@torch.no_grad()
def encode_all(
    encode: Callable[[Tensor], Tensor], pictures: np.ndarray, device: torch.device
) -> np.ndarray:
    """The latents of each picture, float16 [N, C, h, w]."""
    latents = [encode(to_tensor(picture[None]).to(device))[0].half().cpu() for picture in pictures]
    return torch.stack(latents).numpy()


def preview_of(latents: np.ndarray, pictures: np.ndarray) -> list[list[float]]:
    """The linear map [C + 1, 3] from latents and a constant 1 to a shrunken picture's colours."""
    factor = pictures.shape[1] // latents.shape[2]
    colours = F.avg_pool2d(to_tensor(pictures), factor).movedim(1, -1).reshape(-1, 3)
    planes = torch.from_numpy(latents).float().movedim(1, -1)
    planes = torch.cat([planes, torch.ones_like(planes[..., :1])], dim=-1)
    fitted = torch.linalg.lstsq(planes.reshape(len(colours), -1), colours).solution
    return [[round(value, 4) for value in row] for row in fitted.tolist()]


def train(plan: Plan, work: Path, out: Path, device: torch.device) -> dict:
    """Runs all stages and writes the weights; returns their record."""
    pin_plan(plan, work)
    rich = drawn(work / "pictures.npy", plan.pictures, plan.seed, plan.side, RICH)
    calm = drawn(work / "calm.npy", plan.calm_pictures, plan.seed + 1, plan.side, CALM)
    used = np.concatenate([rich[plan.held_out :], calm])

    torch.manual_seed(plan.seed)
    vae = SimVAE(SHAPE).to(device, memory_format=torch.channels_last)
    loss = partial(autoencoder_loss, vae, used, plan.autoencoder, device)
    vae, vae_progress = fit(vae, loss, plan.autoencoder, plan.seed + 1, work / "autoencoder.pt")

    half = plan.encoded // 2
    some = np.concatenate([rich[plan.held_out :][:half], calm[:half]])
    mean = registry.load(DENOISER, registry.POSTERIOR_MEAN)
    mean.cast(torch.float32)
    mean.network.to(device)
    means = kept(work / "means.npy", partial(restore_all, mean.estimate, some, plan.seed + 2))
    encode = partial(encode_all, lambda x: vae.encode(2 * x - 1)[0], device=device)
    clean_latents = kept(work / "clean_latents.npy", partial(encode, some))
    mean_latents = kept(work / "mean_latents.npy", partial(encode, means))
    shift, scale = (float(f"{x:.4g}") for x in unit(clean_latents))

    torch.manual_seed(plan.seed)
    flow = LooUFormer(LEVELS, MAPPING, SHAPE.channels, Options()).to(device)
    own = [((z.astype(np.float32) - shift) * scale).astype(np.float16)
           for z in (clean_latents, mean_latents)]  # fmt: skip
    loss = partial(flow_loss, flow, *own, plan.flow, device)
    flow, flow_progress = fit(flow, loss, plan.flow, plan.seed + 3, work / "flow.pt")

    encoder = {name: t.half() for name, t in vae.state_dict().items() if name[:8] == "encoder."}
    record = {
        "format": 1,
        "name": "Demo Latent-PMRF (Gaussian noise 25/255)",
        "task": TASK,
        "licence": "MIT",
        "space": {
            "name": SPACE,
            "encoder": fingerprint(encoder),
            "preview": preview_of(clean_latents[::40], some[::40]),
        },
        "scaling_factor": scale,
        "shift_factor": shift,
        "block_types": ["global" if x.kernel_size is None else "neighborhood" for x in LEVELS],
        "window_sizes": [x.kernel_size or 0 for x in LEVELS],
        "training": {
            "command": "python training/train.py latent-pmrf",
            **training_record(plan, device, {"autoencoder": vae_progress, "flow": flow_progress}),
        },
    }
    write({"vae": vae, "flow": flow}, record, out)
    return record


def unit(latents: np.ndarray) -> tuple[float, float]:
    """Mean, and what brings the standard deviation to 1."""
    values = torch.from_numpy(latents[:: max(1, len(latents) // 100)]).double()
    return values.mean().item(), 1 / values.std().item()
