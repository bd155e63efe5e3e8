"""Flow transformers as their published code computes them, written for the bench.

Everything is formed anew at every step and in every layer: the time's embedding and its mapping,
positions, angles, cosines. PMRF's code compiles four small functions with `torch.compile` (they are
`Kernels` here), multiplies with TF32 where a GPU has it, clones its state at every step and brings
each to the CPU. Nothing is imported from the pack's networks: what is made faster there must not
make its own baseline faster.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from bench_attention import Attention
from bench_convolutions import Weights, children, conv
from einops import rearrange
from torch import Tensor

EPSILON = 1e-6
PATCH = 4
NOISE_STD = 0.1


def geglu(x: Tensor, weight: Tensor) -> Tensor:
    value, gate = (x @ weight.mT).chunk(2, -1)
    return value * F.gelu(gate)


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    return x * (scale * torch.rsqrt((x**2).mean(-1, keepdim=True) + EPSILON))


def cosine(q: Tensor, k: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Heads of unit length, times a learned temperature's root."""
    root = scale.sqrt()
    lengths = [root * torch.rsqrt((x**2).sum(-1, keepdim=True) + EPSILON) for x in (q, k)]
    return q * lengths[0], k * lengths[1]


def turn(x: Tensor, angles: Tensor) -> None:
    """Rotate the first half of each head in place."""
    quarter = angles.shape[-1]
    first, second = x[..., :quarter], x[..., quarter : 2 * quarter]
    cos, sin = angles.cos(), angles.sin()
    turned = first * cos - second * sin, second * cos + first * sin
    first.copy_(turned[0])
    second.copy_(turned[1])


class Kernels(NamedTuple):
    """The small functions that PMRF's code compiles."""

    geglu: Callable[[Tensor, Tensor], Tensor] = geglu
    rms_norm: Callable[[Tensor, Tensor], Tensor] = rms_norm
    cosine: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = cosine
    turn: Callable[[Tensor, Tensor], None] = turn
    name: str = "eager"

    @classmethod
    def compiled(cls, device: torch.device) -> "Kernels":
        """Compiled; as they are where the machine cannot compile, as the published code goes on."""
        torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
        kernels = cls(*map(torch.compile, (geglu, rms_norm, cosine, turn)), name="compiled")
        try:
            kernels.rms_norm(torch.ones(2, 2, device=device), torch.ones(2, device=device))
        except Exception:  # no compiler, or one that fails
            return cls()
        return kernels


def positions_of(height: int, width: int, device: torch.device) -> Tensor:
    """[H, W, 2]: centres of the cells, the longer side over [-1, 1]."""
    longer = max(height, width)
    axes = [
        (torch.arange(n, device=device) + 0.5) * 2 / longer - n / longer for n in (height, width)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def coarser(positions: Tensor) -> Tensor:
    return rearrange(positions, "(h i) (w j) yx -> h w (i j) yx", i=2, j=2).mean(-2)


def angles_of(positions: Tensor, frequencies: Tensor) -> Tensor:
    """[..., heads, eighths of both axes]."""
    y, x = (positions[..., None, i : i + 1] * frequencies for i in (0, 1))
    return torch.cat([y, x], -1)


def mapped(w: Weights, x: Tensor, kernels: Kernels) -> Tensor:
    """The mapping network on an embedding."""
    x = kernels.rms_norm(x, w["mapping.in_norm.scale"])
    for number in range(children(w, "mapping.blocks.")):
        name = f"mapping.blocks.{number}"
        hidden = kernels.rms_norm(x, w[f"{name}.norm.scale"])
        hidden = kernels.geglu(hidden, w[f"{name}.up_proj.weight"])
        x = x + F.linear(hidden, w[f"{name}.down_proj.weight"])
    return kernels.rms_norm(x, w["mapping.out_norm.scale"])


def features(phase: Tensor) -> Tensor:
    return torch.cat([phase.cos(), phase.sin()], -1)


class HDiT(NamedTuple):
    """PMRF's velocity."""

    w: Weights
    windows: Sequence[int | None]
    """Of each level, from the finest."""
    attention: Attention
    kernels: Kernels

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B, 3, H, W], t [B] -> [B, 3, H, W]."""
        w, depth = self.w, len(self.windows) - 1
        condition = self.condition(t)
        x = self.fold("patch_in", x.movedim(1, -1), PATCH)
        positions = positions_of(*x.shape[1:3], x.device)
        kept = []
        for i in range(depth):
            x = self.layers(f"down_levels.{i}", x, positions, condition, i)
            kept.append((x, positions))
            x, positions = self.fold(f"merges.{i}", x, 2), coarser(positions)
        x = self.layers("mid_level", x, positions, condition, depth)
        for i in reversed(range(depth)):
            skip, positions = kept.pop()
            x = torch.lerp(skip, self.unfold(f"splits.{i}", x, 2), w[f"splits.{i}.fac"])
            x = self.layers(f"up_levels.{i}", x, positions, condition, i)
        x = self.kernels.rms_norm(x, w["out_norm.scale"])
        return self.unfold("patch_out", x, PATCH).movedim(-1, 1)

    def condition(self, t: Tensor) -> Tensor:
        w = self.w
        time = features(2 * math.pi * t[:, None] @ w["time_emb.weight"].T)
        nothing = t.new_zeros(len(t), w["aug_emb.weight"].shape[1])
        none = features(2 * math.pi * nothing @ w["aug_emb.weight"].T)
        embedding = F.linear(time, w["time_in_proj.weight"])
        return mapped(w, embedding + F.linear(none, w["aug_in_proj.weight"]), self.kernels)

    def fold(self, name: str, x: Tensor, side: int) -> Tensor:
        x = rearrange(x, "b (h i) (w j) c -> b h w (i j c)", i=side, j=side)
        return F.linear(x, self.w[f"{name}.proj.weight"])

    def unfold(self, name: str, x: Tensor, side: int) -> Tensor:
        x = F.linear(x, self.w[f"{name}.proj.weight"])
        return rearrange(x, "b h w (i j c) -> b (h i) (w j) c", i=side, j=side)

    def layers(
        self, prefix: str, x: Tensor, positions: Tensor, condition: Tensor, level: int
    ) -> Tensor:
        w = self.w
        for number in range(children(w, f"{prefix}.")):
            name = f"{prefix}.{number}"
            normed = self.norm(f"{name}.self_attn", x, condition)
            x = self.attend(f"{name}.self_attn", normed, positions, self.windows[level]) + x
            normed = self.norm(f"{name}.ff", x, condition)
            hidden = self.kernels.geglu(normed, w[f"{name}.ff.up_proj.weight"])
            x = F.linear(hidden, w[f"{name}.ff.down_proj.weight"]) + x
        return x

    def norm(self, name: str, x: Tensor, condition: Tensor) -> Tensor:
        scale = F.linear(condition, self.w[f"{name}.norm.linear.weight"])
        return self.kernels.rms_norm(x, scale[:, None, None, :] + 1)

    def attend(self, name: str, x: Tensor, positions: Tensor, window: int | None) -> Tensor:
        w, scale = self.w, self.w[f"{name}.scale"]
        height, width = x.shape[1:3]
        qkv = F.linear(x, w[f"{name}.qkv_proj.weight"])
        angles = angles_of(positions, w[f"{name}.pos_emb.freqs"])
        if window:
            q, k, v = rearrange(qkv, "b h w (t n d) -> t b h w n d", t=3, n=len(scale))
            q, k = self.kernels.cosine(q, k, scale[:, None])
        else:
            q, k, v = rearrange(qkv, "b h w (t n d) -> t b n (h w) d", t=3, n=len(scale))
            q, k = self.kernels.cosine(q, k, scale[:, None, None])
            angles = rearrange(angles, "h w n d -> n (h w) d")
        self.kernels.turn(q, angles)
        self.kernels.turn(k, angles)
        if window:
            out = rearrange(self.attention(q, k, v, window), "b h w n d -> b h w (n d)")
        else:
            out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
            out = rearrange(out, "b n (h w) d -> b h w (n d)", h=height, w=width)
        return F.linear(out, w[f"{name}.out_proj.weight"])


def follow_pmrf(velocity: HDiT, mean: Tensor, noise: Tensor, steps: int) -> Tensor:
    """The published loop from the posterior mean to the picture."""
    x = (mean + noise * NOISE_STD).clone()
    states, ones = [x], torch.ones(len(x), device=x.device)
    for i in range(steps):
        v = velocity(x, ones * (i / steps)).to(x.dtype)
        x = x.clone() + v * (1 / steps)
        states.append(x.to("cpu"))
    return states[-1].clip(0, 1)


class LooUFormer(NamedTuple):
    """Latent-PMRF's velocity, from the clean latent to the source."""

    w: Weights
    windows: Sequence[int | None]
    attention: Attention

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x [B, C, h, w], sigma [B] -> [B, C, h, w]."""
        w, depth = self.w, len(self.windows) - 1
        phase = 2 * math.pi * sigma[:, None] * w["time_proj.weight"]
        embedding = F.linear(features(phase), w["timestep_embedder.weight"])
        condition = mapped(w, embedding, Kernels())
        x = conv(w, "proj_in.proj", x)
        positions = positions_of(*x.shape[2:], x.device)
        kept = []
        for i in range(depth):
            x = self.layers(f"down_blocks.{i}", x, positions, condition, i)
            kept.append((x, positions))
            x, positions = conv(w, f"downs.{i}.conv", x, stride=2), coarser(positions)
        x = self.layers("mid_block", x, positions, condition, depth)
        for i in reversed(range(depth)):
            skip, positions = kept.pop()
            fine = conv(w, f"ups.{i}.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = skip + w[f"ups.{i}.fac"] * (fine - skip)
            x = self.layers(f"up_blocks.{i}", x, positions, condition, i)
        epsilon = torch.finfo(torch.float32).eps
        x = F.rms_norm(x.permute(0, 2, 3, 1), x.shape[1:2], w["out_norm.weight"], epsilon)
        return conv(w, "proj_out.proj", x.permute(0, 3, 1, 2))

    def layers(
        self, prefix: str, x: Tensor, positions: Tensor, condition: Tensor, level: int
    ) -> Tensor:
        w = self.w
        for number in range(children(w, f"{prefix}.")):
            name = f"{prefix}.{number}"
            normed = self.norm(f"{name}.norm1", x, condition)
            x = x + self.attend(f"{name}.attn", normed, positions, self.windows[level])
            hidden = self.project(f"{name}.ff.project_in", self.norm(f"{name}.norm2", x, condition))
            gate, value = hidden.chunk(2, 1)
            x = x + conv(w, f"{name}.ff.down_proj", F.gelu(gate) * value)
        return x

    def norm(self, name: str, x: Tensor, condition: Tensor) -> Tensor:
        w = self.w
        scale = F.linear(condition, w[f"{name}.linear.weight"], w.get(f"{name}.linear.bias")) + 1
        return rms_norm(x.permute(0, 2, 3, 1), scale[:, None, None, :]).permute(0, 3, 1, 2)

    def project(self, name: str, x: Tensor) -> Tensor:
        x = conv(self.w, f"{name}.conv", x)
        return conv(self.w, f"{name}.dwconv", x, groups=x.shape[1])

    def attend(self, name: str, x: Tensor, positions: Tensor, window: int | None) -> Tensor:
        frequencies = self.w[f"{name}.pos_emb.freqs"]
        height, width = x.shape[2:]
        qkv = self.project(f"{name}.qkv_proj", x)
        q, k, v = rearrange(qkv, "b (t n d) h w -> t b h w n d", t=3, n=len(frequencies))
        angles = angles_of(positions, frequencies)
        q = q * q.shape[-1] ** -0.5
        k = k.clone()
        turn(q, angles)
        turn(k, angles)
        if window:
            out = self.attention(q, k, v, window)
        else:
            q, k, v = (rearrange(part, "b h w n d -> b n (h w) d") for part in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
            out = rearrange(out, "b n (h w) d -> b h w n d", h=height, w=width)
        return conv(self.w, f"{name}.out_proj", rearrange(out, "b h w n d -> b (n d) h w"))


def follow_latent_pmrf(velocity: LooUFormer, mean: Tensor, noise: Tensor, steps: int) -> Tensor:
    """The published pipeline's loop, sigma falling from 1 to 0."""
    x = mean + NOISE_STD * noise
    for i in range(steps):
        sigma = torch.full([len(x)], 1 - i / steps, device=x.device)
        x = x.to(torch.float32) - velocity(x, sigma) / steps
    return x
