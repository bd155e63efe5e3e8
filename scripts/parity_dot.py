"""Deep Optimal Transport's golden files: the operator, whole transports, and the tiling.

The published operator adds eps inside a root and leaves out what this pack's fitting offers
(shrinkage, gain cap); it is computed here and nowhere in the product.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from golden import Comparison, Golden, Kind, compare
from restoreflow.models.contracts import PIXEL
from restoreflow.sampling import metrics
from restoreflow.sampling.statistics import Statistics
from restoreflow.sampling.tiling import blend_tiles, tile_starts
from restoreflow.sampling.trade_off import trade_off
from restoreflow.sampling.transport import Transport, optimal_map, window
from torch import Tensor

STATISTICS, OPERATOR, PICTURES = 1e-12, 1e-8, 1e-5
"""Tolerances; the first relative to the largest number."""

Autoencoder = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Published(Transport):
    """With the published operator, interpolated in latents as published: the mean jumps."""

    eps: float
    alpha: float = 0.0

    @cached_property
    def matrix(self) -> Tensor:
        moved = published_map(self.source.covariance, self.target.covariance, self.eps)
        return interpolated(moved, self.alpha)


def published_map(source: Tensor, target: Tensor, eps: float) -> Tensor:
    """Cs^-1/2 (Cs^1/2 Ct Cs^1/2 + eps I)^1/2 Cs^-1/2."""
    root = metrics.matrix_root(source)
    inner = root @ target @ root + eps * torch.eye(len(root), dtype=root.dtype)
    back = root.inverse()
    return back @ metrics.matrix_root(inner) @ back


def interpolated(moved: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * moved + alpha * torch.eye(len(moved), dtype=moved.dtype)


def relative(name: str, ours: Tensor, theirs: Tensor) -> Comparison:
    scale = theirs.abs().max()
    return compare(name, ours / scale, theirs / scale, STATISTICS)


def operators(golden: Golden) -> Iterator[Comparison]:
    """d{n}: covariances, the map with and without eps, distances, interpolated transports."""
    for case in sorted({name.split(".")[0] for name in golden.tensors}):
        theirs = golden.weights(f"{case}.")
        source, target = theirs["cov_s"], theirs["cov_t"]
        exact = optimal_map(source, target)
        yield compare(f"{case}.T_exact", exact, theirs["T_exact"], OPERATOR)
        yield compare(f"{case}.T_exact Cs T_exact", exact @ source @ exact, target, OPERATOR)
        yield compare(f"{case}.sqrt_cs", metrics.matrix_root(source), theirs["sqrt_cs"], OPERATOR)
        for name in (n for n in theirs if n.startswith("T_eps")):
            eps = float(name.removeprefix("T_eps"))
            yield compare(
                f"{case}.{name}", published_map(source, target, eps), theirs[name], OPERATOR
            )
        for name in (n for n in theirs if n.startswith("w2_eps")):
            lifted = float(name.removeprefix("w2_eps")) * torch.eye(len(source)).double()
            both = theirs["mean_s"], source + lifted, theirs["mean_t"], target + lifted
            distance = metrics.gaussian_w2_squared(*both)
            yield compare(f"{case}.{name}", distance.reshape(1), theirs[name], OPERATOR)
        for name in (n for n in theirs if re.fullmatch(r"pg-?[\d.]+", n)):
            matrix = interpolated(theirs["T_eps1e-07"], float(name.removeprefix("pg")))
            moved = (theirs["x"] - theirs["mean_s"]) @ matrix.mT + theirs["mean_t"]
            yield compare(f"{case}.{name}", moved, theirs[name], OPERATOR)


def autoencoder(golden: Golden) -> Autoencoder:
    """None (pixels in [-1, 1]), or the stub that the file describes."""
    weights = golden.tensors.get("vae_w")
    if weights is None:
        return lambda x: ((x - 0.5) / 0.5).double(), lambda z: (z / 2 + 0.5).float()

    def encode(x: Tensor) -> Tensor:
        return torch.einsum(
            "oc,bchw->bohw", weights, F.pixel_unshuffle((x - 0.5) / 0.5, 2)
        ).double()

    def decode(z: Tensor) -> Tensor:
        pixels = torch.einsum("oc,bohw->bchw", weights.double(), z)
        return (F.pixel_shuffle(pixels, 2) / 2 + 0.5).float()

    return encode, decode


def transports(golden: Golden) -> Iterator[Comparison]:
    """Statistics of both sets, the operator, a transported picture, interpolations, zero-shot."""
    theirs, facts = golden.tensors, golden.facts
    patch, eps = facts["block"], facts["eps"]
    encode, decode = autoencoder(golden)
    fold = window(patch, float(facts["sigma"]), facts["folding_kernel"])
    sets = {}
    for what in ("source", "target"):
        batches = [theirs[n] for n in sorted(theirs) if re.fullmatch(rf"{what}\d+", n)]
        channels = encode(batches[0]).shape[1]
        found = Statistics.none(channels, patch)
        for batch in batches:
            found = found + Statistics.of(encode(batch), patch)
        sets[what] = found
        yield from statistics(what, found, theirs)
    fitted = Published(name="published", domain=PIXEL, **sets, eps=eps)
    yield compare("T", fitted.matrix, theirs["T"], OPERATOR)
    latent = encode(theirs["test"])
    yield compare("test_latent", latent, theirs["test_latent"], OPERATOR)
    moved = fitted.apply(latent, fold=fold)
    yield compare("test_latent_transported", moved, theirs["test_latent_transported"], OPERATOR)
    lifelike = decode(moved)
    yield compare("out_pg0", lifelike, theirs["out_pg0"], PICTURES)
    for name in (n for n in theirs if n.startswith("out_pixel_alpha")):
        realism = 1 - float(name.removeprefix("out_pixel_alpha"))
        mixed = trade_off(theirs["test"], lifelike, realism).clamp(0, 1)
        yield compare(name, mixed, theirs[name], PICTURES)
    for name in (n for n in theirs if n.startswith("out_latent_alpha")):
        alpha = float(name.removeprefix("out_latent_alpha"))
        one = Published(name="published", domain=PIXEL, **sets, eps=eps, alpha=alpha)
        mixed = decode(one.apply(latent, fold=fold))
        mixed = mixed if alpha == 1 else mixed.clamp(0, 1)  # the published code does not, there
        yield compare(name, mixed, theirs[name], PICTURES)
    alone = fitted.zero_shot(latent)
    covariance = theirs["zero_shot_cov_source"]
    yield relative("zero_shot_cov_source", alone.source.covariance, covariance)
    picture = decode(alone.apply(latent, fold=fold))
    if "out_zero_shot" in theirs:
        yield compare("out_zero_shot", picture, theirs["out_zero_shot"], PICTURES)


def statistics(what: str, ours: Statistics, theirs: dict[str, Tensor]) -> Iterator[Comparison]:
    """Whatever a file holds of a set's."""
    outer = ours.scatter + ours.count * torch.outer(ours.mean, ours.mean)
    found = {
        f"{what}_n": torch.tensor([ours.count]).double(),
        f"{what}_sum": ours.count * ours.mean,
        f"{what}_outer_sum": outer,
        f"mean_{what}": ours.mean,
        f"cov_{what}": ours.covariance,
    }
    for name in (name for name in found if name in theirs):
        yield relative(name, found[name], theirs[name].double())


def tiling(golden: Golden) -> Iterator[Comparison]:
    """Where tiles lie, if they overlap by a quarter as here; equal ones blend to the whole.

    The published blending is uniform and this pack's feathered: changed tiles are not compared.
    """
    for case in sorted({name.split(".")[0] for name in golden.tensors}):
        x, tiles = golden.tensors[f"{case}.x"], golden.tensors[f"{case}.tiles"]
        size = tuple(tiles.shape[-2:])
        tops, lefts = (tile_starts(*pair) for pair in zip(x.shape[-2:], size, strict=True))
        ours = [
            x[..., top : top + size[0], left : left + size[1]] for top in tops for left in lefts
        ]
        if len(ours) == len(tiles):
            yield compare(f"{case}.tiles", torch.cat(ours), tiles, 0.0)
        blended = blend_tiles(lambda tile: tile, [x], size)
        yield compare(
            f"{case}.folded_same", blended, golden.tensors[f"{case}.folded_same"], PICTURES
        )


KINDS: list[Kind] = [
    (lambda g: any(name.endswith(".T_exact") for name in g.tensors), operators),
    (lambda g: "test_latent_transported" in g.tensors, transports),
    (lambda g: any(name.endswith(".folded_same") for name in g.tensors), tiling),
]
