"""A small ELIR (Cohen et al. 2025, arXiv 2502.03500) for the demo's Gaussian noise.

Stages: pictures; a TAESD; a copy of its encoder together with a latent posterior mean; the latents
that these give of the degraded pictures, and the TAESD's of the clean ones; a consistency flow from
those to these, and a plain one of equal size to compare it with; one file.

The paper trains all in one loop; no gradient of its flow reaches encoder or mean, so the stages
have the same objective, and latents computed once save most of the time. The pixels' term, of
weight 0.001 in the published code and not in the paper, is left out.
"""

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..models.networks.lunet import LUnet
from ..models.networks.rrdb import RRDBNet
from ..models.networks.taesd import TAESD
from .consistency import consistency, flow_matching
from .denoiser import WEIGHTS as DENOISER
from .fit import Recipe, fit, step_generator
from .latent_pmrf import draw_latents, encode_all, preview_of
from .pictures import CALM, RICH
from .stages import drawn, kept, pin_plan, training_record, write
from .task import TASK, degrade, draw_crops

WEIGHTS = DENOISER.with_name("demo-elir-25.safetensors")
SPACE = "RestoreFlow demo ELIR c16 f4"
WIDTH, CHANNELS, STAGES = 32, 16, 2
"""Of the autoencoder: a factor of 4."""
HIDDEN, BLOCKS = 20, 1
"""Of the posterior mean."""
LATENT_NOISE = 0.05
"""What the decoder learns to bear: a flow's latents are never exactly an encoder's."""
SOURCE_STD = 0.1
SEGMENTS, DT = 5, 0.05
"""As for the paper's faces."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, apart from the machine's arithmetic."""

    pictures: int = 1600
    calm_pictures: int = 800
    held_out: int = 40
    side: int = 256
    seed: int = 2026
    autoencoder: Recipe = Recipe(steps=3_500, rate=2e-3, clip=1.0)
    refinement: Recipe = Recipe(steps=3_000, rate=1e-3, clip=0.5)
    mean: Recipe = Recipe(steps=4_000, rate=1.5e-3, clip=0.5)
    encoded: int = 1200
    """Pictures, half of them calm, whose latents the flows learn from."""
    flow: Recipe = Recipe(steps=6_000, rate=1e-3, clip=0.5, batch=8, crop=32)


def autoencoder_loss(
    net: TAESD, pictures: np.ndarray, recipe: Recipe, device: torch.device, generator: Generator
) -> Tensor:
    """Absolute error of what comes back from slightly noisy latents."""
    (clean,) = draw_crops((pictures,), recipe, generator)
    x = clean.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        z = net.encoder(x)
        noise = torch.randn(z.shape, generator=generator).to(device)
        back = net.decoder(z + LATENT_NOISE * noise)
    return F.l1_loss(back.float(), x)


class LatentMean(nn.Module):
    """What learns together: the task's own encoder, and the posterior mean behind it."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.enc = copy.deepcopy(encoder).requires_grad_(True)
        self.mmse = RRDBNet(CHANNELS, HIDDEN, BLOCKS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, C, h, w]."""
        return self.mmse(self.enc(x))


def mean_loss(
    net: LatentMean, teacher: nn.Module, pictures: np.ndarray, recipe: Recipe,
    device: torch.device, generator: Generator,
) -> Tensor:  # fmt: skip
    """Mean squared error to the clean pictures' latents: its minimiser is their posterior mean."""
    (clean,) = draw_crops((pictures,), recipe, generator)
    noisy = degrade(clean, generator).to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        with torch.no_grad():
            target = teacher(clean.to(device, memory_format=torch.channels_last))
        mean = net(noisy)
    return F.mse_loss(mean.float(), target.float())


def flow_loss(
    net: LUnet, plain: bool, clean: np.ndarray, means: np.ndarray, recipe: Recipe,
    device: torch.device, generator: Generator,
) -> Tensor:  # fmt: skip
    """The paper's consistent objective, or that of a plain rectified flow."""
    z, mean = draw_latents((clean, means), recipe, generator)
    source = mean + SOURCE_STD * torch.randn(mean.shape, generator=generator)
    t = torch.rand(len(z), generator=generator)
    z, source, t = (x.to(device) for x in (z, source, t if plain else (1 - DT) * t))

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        # On a CPU the small network takes twice as long in half precision.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return net(x.contiguous(memory_format=torch.channels_last), t).float()

    if plain:
        return flow_matching(velocity, source, z, t)
    return consistency(velocity, source, z, t, SEGMENTS, DT)[0]


def train(plan: Plan, work: Path, out: Path, device: torch.device) -> dict:
    """Runs all stages and writes the weights; returns their record."""
    pin_plan(plan, work)
    rich = drawn(work / "pictures.npy", plan.pictures, plan.seed, plan.side, RICH)
    calm = drawn(work / "calm.npy", plan.calm_pictures, plan.seed + 1, plan.side, CALM)
    used = np.concatenate([rich[plan.held_out :], calm])

    torch.manual_seed(plan.seed)
    taesd = TAESD(WIDTH, CHANNELS, STAGES).to(device, memory_format=torch.channels_last)
    loss = partial(autoencoder_loss, taesd, used, plan.autoencoder, device)
    average, first = fit(taesd, loss, plan.autoencoder, plan.seed + 1, work / "autoencoder.pt")
    taesd.load_state_dict(average.state_dict())
    loss = partial(autoencoder_loss, taesd, used, plan.refinement, device)
    taesd, second = fit(taesd, loss, plan.refinement, plan.seed + 5, work / "refinement.pt")
    stages = {"autoencoder": first, "refinement": second}

    torch.manual_seed(plan.seed)
    latent_mean = LatentMean(taesd.encoder).to(device, memory_format=torch.channels_last)
    loss = partial(mean_loss, latent_mean, taesd.encoder, used, plan.mean, device)
    latent_mean, progress = fit(latent_mean, loss, plan.mean, plan.seed + 2, work / "mean.pt")
    stages["mean"] = progress

    half = plan.encoded // 2
    some = np.concatenate([rich[plan.held_out :][:half], calm[:half]])
    noisy = np.stack([
        (255 * degrade(torch.from_numpy(picture)[None] / 255, step_generator(plan.seed + 3, n))[0])
        .byte().numpy() for n, picture in enumerate(some)
    ])  # fmt: skip
    encode = partial(encode_all, device=device)
    clean = kept(work / "clean_latents.npy", partial(encode, taesd.encoder, some))
    means = kept(work / "mean_latents.npy", partial(encode, latent_mean, noisy))

    flows = {}
    for name, plain in (("fmir", False), ("plain", True)):
        torch.manual_seed(plan.seed)
        flow = LUnet(CHANNELS, 32, (1, 2), 1, 32, True).to(
            device, memory_format=torch.channels_last
        )
        loss = partial(flow_loss, flow, plain, clean, means, plan.flow, device)
        flows[name], stages[name] = fit(flow, loss, plan.flow, plan.seed + 4, work / f"{name}.pt")

    record = {
        "format": 1,
        "name": "Demo ELIR (Gaussian noise 25/255)",
        "task": TASK,
        "licence": "MIT",
        "space": {"name": SPACE, "preview": preview_of(clean[::40], some[::40])},
        "flow": {"noise_std": SOURCE_STD, "steps": SEGMENTS},
        "training": {
            "command": "python training/train.py elir",
            **training_record(plan, device, stages),
        },
    }
    own = {"enc": latent_mean.enc, "mmse": latent_mean.mmse, "dec": taesd.decoder}
    # The teacher and the plain flow serve the measurements alone (scripts/measure_latents.py).
    write({**own, **flows, "teacher": taesd.encoder}, record, out)
    return record
