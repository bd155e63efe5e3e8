"""Convolutional networks as their published code computes them: contiguous, plain float32.

Written for the bench from the published structure, on state dicts under the published names, apart
from the networks of the pack: what is made faster there must not make its own baseline faster.
"""

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def children(weights: Iterable[str], prefix: str) -> int:
    """How many numbered modules stand under a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)})


def conv(w: Weights, name: str, x: Tensor, **how) -> Tensor:
    """A convolution that keeps the size, but for its stride."""
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **how)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


# TAESD


def taesd_block(w: Weights, name: str, x: Tensor) -> Tensor:
    hidden = F.relu(conv(w, f"{name}.conv.0", x))
    hidden = F.relu(conv(w, f"{name}.conv.2", hidden))
    return F.relu(x + conv(w, f"{name}.conv.4", hidden))


def taesd_layers(w: Weights, prefix: str, x: Tensor, numbers: Iterable[int]) -> Tensor:
    for number in numbers:
        name = f"{prefix}layers.{number}"
        x = taesd_block(w, name, x) if f"{name}.conv.0.weight" in w else conv(w, name, x)
    return x


def taesd_encode(w: Weights, picture: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> raw latents."""
    x = taesd_layers(w, "enc.", picture, (0, 1))
    for first in (2, 6, 10):
        x = conv(w, f"enc.layers.{first}", x, stride=2)
        x = taesd_layers(w, "enc.", x, range(first + 1, first + 4))
    return taesd_layers(w, "enc.", x, (14,))


def taesd_decode(w: Weights, z: Tensor) -> Tensor:
    """Raw latents -> [B, 3, H, W] about [0, 1]."""
    x = F.relu(conv(w, "dec.layers.0", torch.tanh(z / 3) * 3))
    for first in (2, 7, 12):
        x = taesd_layers(w, "dec.", x, range(first, first + 3))
        x = conv(w, f"dec.layers.{first + 4}", F.interpolate(x, scale_factor=2))
    return taesd_layers(w, "dec.", x, (17, 18))


# ELIR


def rrdb(w: Weights, z: Tensor) -> Tensor:
    """The posterior mean of latents: three dense blocks a block, five convolutions each."""
    out = z
    for block in range(children(w, "mmse.lrm.")):
        x = out
        for part in ("RDB1", "RDB2", "RDB3"):
            seen = [x]
            for number in range(1, 5):
                name = f"mmse.lrm.{block}.{part}.conv{number}.block.0"
                seen.append(F.silu(conv(w, name, torch.cat(seen, 1))))
            last = conv(w, f"mmse.lrm.{block}.{part}.conv5.block.0", torch.cat(seen, 1))
            x = last * 0.2 + x
        out = x * 0.2 + out
    return z + out


def lunet_block(w: Weights, name: str, x: Tensor) -> Tensor:
    x = F.group_norm(x, 32, w[f"{name}.block.0.weight"], w[f"{name}.block.0.bias"])
    return conv(w, f"{name}.block.2", F.silu(x))


def lunet_residual(w: Weights, name: str, x: Tensor, time: Tensor) -> Tensor:
    hidden = lunet_block(w, f"{name}.block1", x)
    hidden = hidden + linear(w, f"{name}.mlp.1", F.silu(time))[:, :, None, None]
    return lunet_block(w, f"{name}.block2", hidden) + conv(w, f"{name}.conv2d", x)


def lunet_time(w: Weights, t: float, device: torch.device) -> Tensor:
    """[1, 4 dim]: the embedding of a time."""
    half = w["fmir.time_mlp.linear1.weight"].shape[1] // 2
    step = math.log(10000) / (half - 1)
    phase = 1000 * t * torch.exp(torch.arange(half, device=device) * -step)[None]
    features = torch.cat([phase.cos(), phase.sin()], 1)
    return linear(w, "fmir.time_mlp.linear2", F.silu(linear(w, "fmir.time_mlp.linear1", features)))


def lunet(w: Weights, z: Tensor, t: float) -> Tensor:
    """The velocity of ELIR's flow."""
    time = lunet_time(w, t, z.device)
    x, skips = conv(w, "fmir.first_proj", z), []
    levels = children(w, "fmir.down_blocks.")
    for level in range(levels):
        x = lunet_residual(w, f"fmir.down_blocks.{level}.0", x, time)
        skips.append(x)
        down = f"fmir.down_blocks.{level}.1.conv"
        x = conv(w, down, x, stride=2) if f"{down}.weight" in w else x
    for number in range(children(w, "fmir.mid_blocks.")):
        x = lunet_residual(w, f"fmir.mid_blocks.{number}", x, time)
    for level in range(levels):
        up = f"fmir.up_blocks.{level}.0.convtr"
        if f"{up}.weight" in w:
            x = F.conv_transpose2d(x, w[f"{up}.weight"], w[f"{up}.bias"], stride=2, padding=1)
        x = torch.cat([x, skips.pop()], 1)
        x = lunet_residual(w, f"fmir.up_blocks.{level}.1", x, time)
    return conv(w, "fmir.final_proj", lunet_block(w, "fmir.final_block", x))


def elir_follow(w: Weights, z: Tensor, steps: int) -> Tensor:
    """Euler's steps from noisy latents; the time is embedded anew at each."""
    for i in range(steps):
        z = z + lunet(w, z, i / steps) / steps
    return z


def elir(w: Weights, picture: Tensor, noise: Tensor, noise_std: float, steps: int) -> Tensor:
    """From picture to picture."""
    z = rrdb(w, taesd_encode(w, picture)) + noise_std * noise
    return taesd_decode(w, elir_follow(w, z, steps)).clamp(0, 1)


# Sim-VAE


def simvae_blocks(w: Weights, prefix: str, x: Tensor) -> Tensor:
    for number in range(children(w, f"{prefix}resnets.")):
        name = f"{prefix}resnets.{number}"
        norm = w[f"{name}.norm.weight"], w[f"{name}.norm.bias"]
        hidden = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *norm, 1e-6)
        hidden = conv(w, f"{name}.conv1", hidden.permute(0, 3, 1, 2))
        x = x + conv(w, f"{name}.conv2", F.silu(hidden))
    return x


def simvae_encode(w: Weights, picture: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> the posterior's mean."""
    x = conv(w, "encoder.conv_in", 2 * picture - 1)
    for level in range(children(w, "encoder.down_blocks.")):
        x = simvae_blocks(w, f"encoder.down_blocks.{level}.", x)
        down = f"encoder.down_blocks.{level}.downsampler.conv"
        x = conv(w, down, x, stride=2) if f"{down}.weight" in w else x
    x = conv(w, "encoder.conv_out", simvae_blocks(w, "encoder.mid_block.", x))
    return x.chunk(2, 1)[0]


def simvae_decode(w: Weights, z: Tensor) -> Tensor:
    """Latents -> [B, 3, H, W] in [0, 1]."""
    x = simvae_blocks(w, "decoder.mid_block.", conv(w, "decoder.conv_in", z))
    for level in range(children(w, "decoder.up_blocks.")):
        x = simvae_blocks(w, f"decoder.up_blocks.{level}.", x)
        up = f"decoder.up_blocks.{level}.upsampler.conv"
        x = conv(w, up, F.interpolate(x, scale_factor=2.0)) if f"{up}.weight" in w else x
    return (conv(w, "decoder.conv_out", x) * 0.5 + 0.5).clamp(0, 1)


# The demo's U-Net


def pixel_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    factor = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
    return x * (factor * w[f"{name}.scale"].view(1, -1, 1, 1))


def flow_unet_blocks(w: Weights, prefix: str, x: Tensor, time: Tensor) -> Tensor:
    for number in range(children(w, prefix)):
        name = f"{prefix}{number}"
        scale, shift = linear(w, f"{name}.modulation", time)[:, :, None, None].chunk(2, 1)
        hidden = conv(w, f"{name}.conv1", F.silu(pixel_norm(w, f"{name}.norm1", x)))
        hidden = pixel_norm(w, f"{name}.norm2", hidden) * (1 + scale) + shift
        x = x + conv(w, f"{name}.conv2", F.silu(hidden))
    return x


def flow_unet_time(w: Weights, t: float, s: float, like: Tensor) -> Tensor:
    times = torch.tensor([[t, s - t]], device=like.device).expand(len(like), 2)
    pitches = math.pi * 2.0 ** torch.linspace(-1, 3, 8, device=like.device)
    phase = (times[..., None] * pitches).flatten(1)
    features = torch.cat([times, phase.sin(), phase.cos()], 1)
    return F.silu(linear(w, "embed.out", F.silu(linear(w, "embed.hidden", features))))


def flow_unet(w: Weights, x: Tensor, t: float, s: float) -> Tensor:
    """Mean velocity over [t, s] at x [B, 3, H, W]."""
    time = flow_unet_time(w, t, s, x)
    first = w["conv_in.weight"]
    patch, levels = first.shape[-1] // 3, children(w, "down.")
    x, skips = F.conv2d(2 * x - 1, first, w["conv_in.bias"], stride=patch, padding=patch), []
    for level in range(levels):
        x = flow_unet_blocks(w, f"encoder.{level}.", x, time)
        skips.append(x)
        x = F.conv2d(x, w[f"down.{level}.weight"], w[f"down.{level}.bias"], stride=2)
    x = flow_unet_blocks(w, "middle.", x, time)
    for level in reversed(range(levels)):
        fine = F.pixel_shuffle(conv(w, f"up.{level}", x), 2)
        x = conv(w, f"merge.{level}", torch.cat([fine, skips.pop()], 1))
        x = flow_unet_blocks(w, f"decoder.{level}.", x, time)
    return F.pixel_shuffle(conv(w, "conv_out", F.silu(pixel_norm(w, "norm_out", x))), patch)
