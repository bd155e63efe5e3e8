"""Golden files of Latent-PMRF (arXiv 2507.00447).

What the published code does and the product does not is here alone: no padding, tiles that are
blended in place, and tiles with Gaussian weights at every step.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from golden import (
    WHOLE,
    Comparison,
    Golden,
    Kind,
    as_checkpoint,
    compare,
    same_keys,
)
from restoreflow.models.contracts import Autoencoder, Flow, PosteriorMean
from restoreflow.models.families import latent_pmrf
from restoreflow.models.networks.neighborhood import neighborhood_attention
from restoreflow.sampling import autoencode, restore
from restoreflow.sampling.integrate import Step, integrate
from restoreflow.sampling.schedule import uniform
from torch import Tensor, nn

TILE_SHARE, OVERLAP_SHARE = 0.75, 0.25
"""Stride and overlap of the Sim-VAE's own tiles, a side."""
TILE_VARIANCE = 0.01
"""Of the Gaussian that weighs the tiles of a step, in squared sides."""

Parts = dict[str, Tensor]


def to_unit(pictures: Tensor) -> Tensor:
    """From the published range [-1, 1] to [0, 1]."""
    return pictures / 2 + 0.5


def to_symmetric(pictures: Tensor) -> Tensor:
    return 2 * pictures - 1


def beside(prefix: str, ours: Parts, theirs: Parts) -> Iterator[Comparison]:
    """What was found, each beside the golden tensor of its name where one was recorded."""
    for name, tensor in ours.items():
        if name in theirs:
            yield compare(prefix + name, tensor, theirs[name])


# Activations


@contextmanager
def recording(network: nn.Module, names: Iterable[str]) -> Iterator[Parts]:
    """Within it, the outputs of a network's modules are kept under the modules' names.

    A list of layers counts as its last one.
    """
    seen: Parts = {}
    hooks = []
    for name in names:
        module = network.get_submodule(name)
        module = module[-1] if isinstance(module, nn.ModuleList) else module
        hooks.append(
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def same_activations(prefix: str, seen: Parts, theirs: Parts) -> Iterator[Comparison]:
    """Each beside the golden one, which flattens the grid where attention is global."""
    for name, tensor in theirs.items():
        yield compare(prefix + name, seen[name].reshape(tensor.shape), tensor)


# Sim-VAE


def load_autoencoder(weights: Parts, config: dict[str, Any]) -> Autoencoder:
    """The part that the nodes load, on pictures of any size: the published code pads none."""
    part = latent_pmrf.load_autoencoder(as_checkpoint({"": weights}, config))
    return replace(part, multiple=1)


def simvae(golden: Golden) -> Iterator[Comparison]:
    """One Sim-VAE: {case}/{x, moments, ...}, its own tiles, and the clamped variance."""
    config, weights = golden.facts["config"], golden.weights("sd/")
    part = load_autoencoder(weights, config)
    cases = [name.removesuffix("/moments") for name in golden.tensors if name.endswith("/moments")]
    for case in cases:
        tensors = golden.weights(f"{case}/")
        if case == "tiled":
            yield from tiled_autoencoding(part, tensors, golden.facts["tiled"]["sample_size"])
        else:
            yield from autoencoding(part, f"{case}/", tensors)
    if "clamp/bias" in golden.tensors:
        yield from clamp(golden, weights, config)


def autoencoding(part: Autoencoder, prefix: str, theirs: Parts) -> Iterator[Comparison]:
    """The posterior of pictures, a draw from it, and what is decoded of the draw and the mean."""
    pictures = to_unit(theirs["x"])
    taps = {name.removeprefix("tap/"): t for name, t in theirs.items() if name.startswith("tap/")}
    std = part.encode(pictures)[1]
    mean = autoencode.encode(part, pictures)
    decoded = part.decode(mean)
    with recording(part.network, taps) as seen:  # of the draw, as the published run
        draw = autoencode.encode(part, pictures, noise=drawn(theirs["eps"]))
        yield from decoding(part, draw, theirs["dec_sample"], f"{prefix}dec_sample")
    found = {
        "mean": mean,
        "std": std,
        "logvar": 2 * std.log(),
        "moments": part.network.encoder(theirs["x"]),
        "z_sample": draw,
        "forward_mode": to_symmetric(decoded),
    }
    yield from beside(prefix, found, theirs)
    yield from same_activations(f"{prefix}tap/", seen, taps)


def drawn(noise: Tensor) -> Callable[[tuple[int, int, int]], Tensor]:
    """A recorded noise, as the encoder asks for it."""
    return lambda shape: noise.reshape(-1, *shape)


def decoding(part: Autoencoder, latents: Tensor, theirs: Tensor, name: str) -> Iterator[Comparison]:
    """The decoder's output in [-1, 1], and clipped to pictures as the nodes clip it."""
    yield compare(name, to_symmetric(part.decode(latents)), theirs)
    pictures = autoencode.decode(part, latents)
    yield compare(f"{name} (pictures)", pictures, to_unit(theirs).clamp(0, 1))


def clamp(golden: Golden, weights: Parts, config: dict[str, Any]) -> Iterator[Comparison]:
    """The variance's bounds, driven to by a bias; relative, for a std of e^10."""
    weights = {**weights, "encoder.conv_out.bias": golden.tensors["clamp/bias"]}
    part = load_autoencoder(weights, config)
    std = part.encode(to_unit(golden.tensors["clamp/x"]))[1]
    theirs = golden.tensors["clamp/std"]
    yield compare("clamp/logvar", 2 * std.log(), golden.tensors["clamp/logvar"])
    yield compare("clamp/std (ratio)", std / theirs, torch.ones_like(theirs))


def tiled_autoencoding(part: Autoencoder, theirs: Parts, tile: int) -> Iterator[Comparison]:
    """The Sim-VAE's own tiling, which blends every tile into neighbours already blended."""
    small = tile // part.factor

    def encode(x: Tensor) -> Tensor:
        return blended(part.network.encoder, x, tile, small)

    def decode(z: Tensor) -> Tensor:
        return blended(part.network.decode, z, small, tile)

    moments = encode(theirs["x"])
    mean, log_variance = moments.chunk(2, dim=1)
    std = (log_variance / 2).exp()
    yield compare("tiled/moments", moments, theirs["moments"])
    yield compare("tiled/z_sample", mean + std * theirs["eps"], theirs["z_sample"])
    yield compare("tiled/forward_mode", decode(mean), theirs["forward_mode"])
    yield compare("tiled/dec_sample", decode(theirs["z_sample"]), theirs["dec_sample"])


def blended(function: Callable[[Tensor], Tensor], x: Tensor, inner: int, outer: int) -> Tensor:
    """Overlapping tiles of side `inner`, each mapped to side `outer`, one ramp into the other."""
    stride, ramp = int(inner * TILE_SHARE), int(outer * OVERLAP_SHARE)
    kept = outer - ramp
    above: list[Tensor] = []
    rows = []
    for top in range(0, x.shape[-2], stride):
        row: list[Tensor] = []
        for column, left in enumerate(range(0, x.shape[-1], stride)):
            tile = function(x[..., top : top + inner, left : left + inner]).clone()
            if above:
                blend(above[column].mT, tile.mT, ramp)
            if row:
                blend(row[-1], tile, ramp)
            row.append(tile)
        rows.append(torch.cat([tile[..., :kept, :kept] for tile in row], dim=-1))
        above = row
    return torch.cat(rows, dim=-2)


def blend(left: Tensor, tile: Tensor, ramp: int) -> None:
    """Fade from the last columns of a tile into the first ones of the next, in place."""
    ramp = min(ramp, left.shape[-1], tile.shape[-1])
    share = torch.arange(ramp) / ramp
    tile[..., :ramp] = left[..., -ramp:] * (1 - share) + tile[..., :ramp] * share


def simvae_variants(golden: Golden) -> Iterator[Comparison]:
    for name, config in golden.facts["variants"].items():
        part = load_autoencoder(golden.weights(f"{name}/sd/"), config)
        yield from autoencoding(part, f"{name}/case/", golden.weights(f"{name}/case/"))


# LooUFormer


def load_flow(weights: Parts, config: dict[str, Any]) -> Flow:
    return latent_pmrf.load_flow(as_checkpoint({"": weights}, config))


def looformer(golden: Golden) -> Iterator[Comparison]:
    """One flow network: {case}/{x, v_t{sigma}, pos{level}, tap_t{sigma}/...}; attention alone."""
    flow = load_flow(golden.weights("sd/"), golden.facts["config"])
    for name in [name for name in golden.tensors if name.endswith("/x")]:
        yield from velocities(flow, name.removesuffix("x"), golden)
    theirs = golden.weights("na2d/")
    for name in [name for name in theirs if name.startswith("out_k")]:
        q, k, v = (theirs[part] for part in "qkv")
        kernel_size = int(name.removeprefix("out_k"))
        ours = neighborhood_attention(q * q.shape[-1] ** -0.5, k, v, kernel_size)
        yield compare(f"na2d/{name}", ours, theirs[name])


def velocities(flow: Flow, prefix: str, golden: Golden) -> Iterator[Comparison]:
    """All that is recorded of one input; the published velocity points to the source."""
    theirs = golden.weights(prefix)
    x = theirs["x"]
    for name in [name for name in theirs if name.startswith("v_t")]:
        sigma = name.removeprefix("v_t")
        taps = golden.weights(f"{prefix}tap_t{sigma}/")
        with recording(flow.network, taps) as seen:
            ours = -flow.velocity(x, 1 - float(sigma), 1.0)
        yield compare(prefix + name, ours, theirs[name])
        yield from same_activations(f"{prefix}tap_t{sigma}/", seen, taps)
    if "v_mixed" in theirs:
        t = 1 - theirs["sigma_mixed"]
        yield compare(f"{prefix}v_mixed", -flow.predict(x, t, t), theirs["v_mixed"])
    positions = [theirs[f"pos{i}"] for i in range(len(theirs)) if f"pos{i}" in theirs]
    for i, (ours, expected) in enumerate(zip(grids(flow, x), positions, strict=False)):
        yield compare(f"{prefix}pos{i}", ours, expected)


def grids(flow: Flow, x: Tensor) -> list[Tensor]:
    """The positions that each level's first layer was given, from the finest."""
    network, seen = flow.network, []
    levels = [*network.down_blocks, network.mid_block]
    hooks = [
        layers[0].register_forward_hook(lambda _m, given, _o: seen.append(given[1]))
        for layers in levels
    ]
    flow.velocity(x, 0.0, 1.0)
    for hook in hooks:
        hook.remove()
    return seen


def looformer_variants(golden: Golden) -> Iterator[Comparison]:
    for name, config in golden.facts["variants"].items():
        yield from velocities(load_flow(golden.weights(f"{name}/sd/"), config), f"{name}/", golden)


# Whole restorations


def pipeline(golden: Golden) -> Iterator[Comparison]:
    """The published pipeline's schedules and cases, in one piece and in tiles."""
    for name, theirs in golden.weights("sched/").items():
        if name.startswith("sigmas"):
            yield compare(f"sched/{name}", sigmas(len(theirs) - 1), theirs)
        else:
            yield compare(f"sched/{name}", 1000 * sigmas(len(theirs))[:-1], theirs)
    for name, theirs in golden.weights("tile_weights/").items():
        yield compare(f"tile_weights/{name}", tile_weights(*theirs.shape), theirs)
    for name, case in golden.facts["cases"].items():
        yield from restoration(golden, name, case)


def sigmas(steps: int) -> Tensor:
    """The published times: 1 at the source, 0 where it is clean."""
    return 1 - torch.tensor(uniform(steps), dtype=torch.float64)


def restoration(golden: Golden, name: str, case: dict[str, Any]) -> Iterator[Comparison]:
    """One picture through posterior mean, encoder, flow and decoder."""
    theirs = golden.weights(f"{name}/")
    scaling = {key: case[key] for key in ("scaling_factor", "shift_factor")}
    part = load_autoencoder(golden.weights("vae/"), golden.facts["vae_config"])
    flow = load_flow(golden.weights("flow/"), {**golden.facts["flow_config"], **scaling})

    mean = recorded_mean(theirs, case["range_norm"])
    latents = autoencode.encode(part, mean, noise=drawn(theirs["noise_vae"]))
    found = {
        "pm_01": mean,
        "pm_clipped_pm1": to_symmetric(mean),
        "moments": part.network.encoder(to_symmetric(mean)),
        "z_pm_unscaled": latents,
        "pm_decoded_01": autoencode.decode(part, latents),
    }
    yield from beside(f"{name}/", found, theirs)
    areas = tiles(case, part.factor)
    sample = sample_whole if len(areas) == 1 else sample_in_tiles
    steps, result = sample(flow, latents, theirs["noise_source"], case, areas)
    yield from same_steps(f"{name}/", steps, theirs, len(areas))
    found = {
        "z_final_unscaled": result,
        "decoded_pm1": to_symmetric(part.decode(result)),
        "image_01": autoencode.decode(part, result),
    }
    yield from beside(f"{name}/", found, theirs)


def recorded_mean(theirs: Parts, symmetric: bool) -> Tensor:
    """The posterior mean of an estimator whose output is recorded, not its weights.

    It was asked in [-1, 1] or in [0, 1].
    """
    output = to_unit(theirs["pm_net_output"]) if symmetric else theirs["pm_net_output"]
    stub = nn.Linear(1, 1)
    estimator = PosteriorMean(
        name="recorded", network=stub, memory=lambda *_: 0, predict=lambda _: output
    )
    return restore.posterior_mean(estimator, torch.zeros_like(output))


Area = tuple[slice, slice]


def tiles(case: dict[str, Any], factor: int) -> list[Area]:
    """The published tiles of a picture, in latents, row by row."""
    (height, width), (tile_height, tile_width) = case["image"], case["tile"]
    row_overlap, column_overlap = case["overlap"]
    if height * width <= tile_height * tile_width:
        tile_height, tile_width, row_overlap, column_overlap = height, width, 0, 0
    elif height < tile_height:
        tile_height, row_overlap = height, 0
    elif width < tile_width:
        tile_width, column_overlap = width, 0
    return [
        (rows, columns)
        for rows in spans(height, tile_height, row_overlap, factor)
        for columns in spans(width, tile_width, column_overlap, factor)
    ]


def spans(length: int, tile: int, overlap: int, factor: int) -> list[slice]:
    """Along one axis; the last tile is flush with the end."""
    stride = tile - overlap
    ends = [min(i * stride + tile, length) for i in range(math.ceil((length - tile) / stride) + 1)]
    return [slice((end - tile) // factor, end // factor) for end in ends]


def tile_weights(height: int, width: int) -> Tensor:
    """[h, w], a Gaussian in the middle of the tile."""

    def axis(length: int) -> Tensor:
        from_middle = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2) / length
        density = (-(from_middle**2) / (2 * TILE_VARIANCE)).exp()
        return density / math.sqrt(2 * math.pi * TILE_VARIANCE)

    return torch.outer(axis(height), axis(width)).float()


def sample_whole(
    flow: Flow, latents: Tensor, noise: Tensor, case: dict[str, Any], _: Sequence[Area]
) -> tuple[list[Step], Tensor]:
    """As the nodes do it."""
    steps: list[Step] = []
    result = restore.sample(
        flow,
        latents,
        noise,
        steps=case["steps"],
        source_noise=case["noise_std"],
        tile=WHOLE,
        observe=steps.append,
    )
    return steps, result


def sample_in_tiles(
    flow: Flow, latents: Tensor, noise: Tensor, case: dict[str, Any], areas: Sequence[Area]
) -> tuple[list[Step], Tensor]:
    """As published: at every step the mean of the tiles' velocities under their weights."""

    def field(x: Tensor, t: float, s: float) -> Tensor:
        total, weight = torch.zeros_like(x), torch.zeros_like(x[0, 0])
        for area in areas:
            crop = x[..., area[0], area[1]]
            share = tile_weights(*crop.shape[-2:])
            total[..., area[0], area[1]] += share * flow.velocity(crop, t, s)
            weight[area] += share
        return total / weight

    start = restore.start(flow, flow.domain.to_network(latents), noise, case["noise_std"])
    steps = list(integrate(field, start, uniform(case["steps"])))
    return steps, flow.domain.to_wire(steps[-1].end)


def same_steps(
    prefix: str, steps: Sequence[Step], theirs: Parts, calls: int
) -> Iterator[Comparison]:
    """Times, states and velocities; `calls` is of the network a step."""
    times = 1 - torch.tensor([step.t for step in steps], dtype=torch.float64)
    yield compare(f"{prefix}sigmas", torch.cat([times, times.new_zeros(1)]), theirs["sigmas"])
    yield compare(f"{prefix}timesteps", 1000 * times, theirs["timesteps"])
    told = times.repeat_interleave(calls)
    yield compare(f"{prefix}net_time_input", told, theirs["net_time_input"])
    yield compare(f"{prefix}x0", steps[0].x, theirs["x0"])
    for i, step in enumerate(steps):
        yield compare(f"{prefix}v{i}", -step.velocity, theirs[f"v{i}"])
        yield compare(f"{prefix}x{i + 1}", step.end, theirs[f"x{i + 1}"])


# Whole networks' names


def simvae_keys(golden: Golden) -> Iterator[Comparison]:
    theirs = shapes(golden)
    network, _ = latent_pmrf.build_autoencoder(theirs, golden.facts["config"])
    yield from network_keys(network, theirs)


def looformer_keys(golden: Golden) -> Iterator[Comparison]:
    theirs = shapes(golden)
    network, _ = latent_pmrf.build_flow(theirs, golden.facts["config"])
    yield from network_keys(network, theirs)


def shapes(golden: Golden) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in golden.facts["keys"].items()}


def network_keys(network: nn.Module, theirs: dict[str, tuple[int, ...]]) -> Iterator[Comparison]:
    ours = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    yield from same_keys(ours, theirs, "")


def has(ending: str) -> Callable[[Golden], bool]:
    """Whether a tensor's name ends so."""
    return lambda golden: any(name.endswith(ending) for name in golden.tensors)


def lists(name: str) -> Callable[[Golden], bool]:
    """Whether the file lists the tensors of a network that has this one."""
    return lambda golden: name in golden.facts.get("keys", ())


SIMVAE_KEY = "encoder.down_blocks.0.resnets.0.norm.weight"
LOOFORMER_KEY = "mid_block.0.attn.qkv_proj.conv.weight"

KINDS: list[Kind] = [
    (lambda g: {f"vae/{SIMVAE_KEY}", f"flow/{LOOFORMER_KEY}"} <= g.tensors.keys(), pipeline),
    (lambda g: f"sd/{SIMVAE_KEY}" in g.tensors, simvae),
    (lambda g: f"sd/{LOOFORMER_KEY}" in g.tensors, looformer),
    (has(f"/sd/{SIMVAE_KEY}"), simvae_variants),
    (has(f"/sd/{LOOFORMER_KEY}"), looformer_variants),
    (lists(SIMVAE_KEY), simvae_keys),
    (lists(LOOFORMER_KEY), looformer_keys),
]
