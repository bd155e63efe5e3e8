"""Golden files of ELIR (arXiv 2502.03500): TAESD, time embedding, pipelines, losses, key lists.

Weights that a file does not store follow from its seed by the rule that it states.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from golden import WHOLE, Comparison, Golden, Kind, as_checkpoint, compare, same, same_keys, select
from restoreflow.models.checkpoint import Checkpoint
from restoreflow.models.contracts import Autoencoder, Flow, PosteriorMean
from restoreflow.models.families import elir, taesd
from restoreflow.models.networks.lunet import LUnet, time_features
from restoreflow.models.networks.rrdb import RRDBNet
from restoreflow.models.networks.taesd import TAESD
from restoreflow.sampling import autoencode, restore
from restoreflow.sampling.schedule import uniform
from restoreflow.training import consistency
from torch import Tensor, nn

PICTURE_TOLERANCE = 2e-4
CHANNELS = 16
PATCH = 64
"""The published script pads patches to a multiple of this."""

Weights = dict[str, Tensor]


def cases(golden: Golden, known_by: str) -> list[str]:
    """The prefixes under which a tensor of this name is stored."""
    end = f".{known_by}"
    return [name.removesuffix(end) for name in golden.tensors if name.endswith(end)]


# Weights


def stored(golden: Golden, prefix: str) -> Weights:
    return {name: tensor.float() for name, tensor in golden.weights(prefix).items()}


def weights_of(golden: Golden) -> Weights:
    """Under the names of a released file: stored, or by the rule."""
    return stored(golden, "sd.") or by_rule(published(golden.facts["config"]), golden.facts)


def published(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the file that a configuration leads to."""
    flow, mean = config["fmir"], config["mmse"]
    with torch.device("meta"):
        autoencoder = TAESD(config["taesd_width"], mean["c_inout"])
        parts = {
            "fmir.": LUnet(
                flow["in_channels"], flow["hid_channels"], tuple(flow["ch_mult"]),
                flow["n_mid_blocks"], flow["t_emb_dim"],
            ),
            "mmse.": RRDBNet(mean["c_inout"], mean["c_hid"], mean["n_rrdb"]),
            "enc.": autoencoder.encoder,
            "dec.": autoencoder.decoder,
        }  # fmt: skip
    return {p + name: shape for p, part in parts.items() for name, shape in shapes_in(part).items()}


def shapes_in(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return taesd.shapes_of(network.state_dict())


def by_rule(shapes: dict[str, tuple[int, ...]], facts: dict[str, Any]) -> Weights:
    """The rule that the file's metadata states as `weights`; its seed and gain are there, too."""
    seed = facts.get("config", facts)["seed"]
    gain = float((re.findall(r"gain=([\d.]*\d)", facts["weights"]) or [1])[0])
    return {name: drawn(name, shape, seed, gain) for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...], seed: int, gain: float) -> Tensor:
    random = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    n = random.standard_normal(int(np.prod(shape))).reshape(shape)
    if len(shape) >= 2:
        n *= gain / np.sqrt(4 * shape[0] if "convtr" in name else np.prod(shape[1:]))
    elif name.endswith("weight"):
        n = 1 + 0.1 * n
    else:
        n = 0.05 * n + 0.5 * (shape == (3,))  # the pictures' own bias
    return torch.from_numpy(n.astype(np.float16)).float()


def spot_checks(golden: Golden, weights: Weights) -> Iterator[Comparison]:
    """Sum, first and last value of some tensors, where the file tells them."""
    for name, expected in golden.facts.get("spot_checks key->[sum, first, last]", {}).items():
        flat = weights[name].double().flatten()
        ours = torch.stack([flat.sum(), flat[0], flat[-1]])
        yield compare(f"{name} (rule)", ours, torch.tensor(expected, dtype=torch.float64))


def parts_of(checkpoint: Checkpoint) -> tuple[Autoencoder, PosteriorMean, Flow]:
    return elir.load_autoencoder(checkpoint), elir.load_mean(checkpoint), elir.load_flow(checkpoint)


# Each kind of golden file


def time_embedding(golden: Golden) -> Iterator[Comparison]:
    """d{dim}.K{steps} and d{dim}.train: rows of features."""
    for name, theirs in golden.tensors.items():
        if match := re.fullmatch(r"d(\d+)\.(?:K(\d+)|train)", name):
            dim, steps = match.groups()
            times = torch.tensor(uniform(int(steps))[:-1]) if steps else golden.tensors["train_t"]
            yield compare(name, time_features(times, int(dim)), theirs)


def autoencoder(golden: Golden) -> Iterator[Comparison]:
    """A TAESD alone: <case>.{x, z, rec, zrand, dec_zrand}."""
    weights = stored(golden, "sd.")
    if not weights:
        with torch.device("meta"):
            network = TAESD(golden.facts["width"], golden.facts["latent_channels"])
        weights = by_rule(shapes_in(network), golden.facts)
    part = taesd.load_autoencoder(as_checkpoint({"": weights}))
    for case in cases(golden, "zrand"):
        x, z, rec, random, decoded = (
            golden.tensors[f"{case}.{name}"] for name in ("x", "z", "rec", "zrand", "dec_zrand")
        )
        whole = autoencode.encode(part, x, tile=WHOLE)
        if x.shape[-1] % part.multiple or x.shape[-2] % part.multiple:
            whole = part.encode(x)[0]  # as published: not padded, the last latent sees the border
        yield compare(f"{case}.z", part.domain.to_network(whole), z)
        for name, latents, theirs in (("rec", z, rec), ("dec_zrand", random, decoded)):
            wire = part.domain.to_wire(latents)
            yield compare(f"{case}.{name}", part.decode(wire), theirs, PICTURE_TOLERANCE)
            ours = autoencode.decode(part, wire, tile=WHOLE)
            yield compare(f"{case}.{name} (clipped)", ours, theirs.clamp(0, 1), PICTURE_TOLERANCE)


def pipeline(golden: Golden) -> Iterator[Comparison]:
    """Whole restorations: <case>.{x, eps}, and what stands at each stage."""
    weights = weights_of(golden)
    yield from spot_checks(golden, weights)
    if collapsed := stored(golden, "collapsed."):
        single = elir.collapse(weights)
        for name, theirs in collapsed.items():
            yield compare(f"collapsed.{name}", single[name], theirs)
    parts = parts_of(as_checkpoint({"": weights}))
    for case in cases(golden, "x"):
        yield from restoration(golden, case, parts)


def restoration(golden: Golden, case: str, parts: tuple) -> Iterator[Comparison]:
    """One picture through encoder, posterior mean, flow and decoder."""
    part, mean, flow = parts
    config = golden.facts["config"]
    facts = golden.weights(f"{case}.")
    steps: list = []
    z = autoencode.encode(part, facts["x"], tile=WHOLE)
    z_mmse = restore.posterior_mean(mean, z)
    end = restore.sample(
        flow, z_mmse, facts["eps"], steps=config["k_steps"], source_noise=config["sigma_s"],
        tile=WHOLE, observe=steps.append,
    )  # fmt: skip
    own = flow.domain.to_network
    dim = flow.network.time_dim
    found = {"z": own(z), "z_mmse": own(z_mmse), "y": part.decode(end)}
    found |= {f"v{step.i}": step.velocity for step in steps}
    found |= {f"z_step{step.i + 1}": step.end for step in steps}
    found |= {f"temb{step.i}": time_features(torch.tensor([step.t]), dim) for step in steps}
    found |= {
        "z_step0": steps[0].x,
        "y_step0": part.decode(flow.domain.to_wire(steps[0].x)),
        "y_mmse": part.decode(z_mmse),
        "y_clip": autoencode.decode(part, end, tile=WHOLE),
    }
    others = golden.weights(f"{case.removesuffix('_open')}_collapsed.")
    for label, known in ((case, facts), (f"{case} (collapsed)", others)):
        for name, theirs in known.items():
            if name not in ("x", "eps"):
                tolerance = {"tolerance": PICTURE_TOLERANCE} if name.startswith("y") else {}
                yield compare(f"{label}.{name}", found[name], theirs, **tolerance)


def inference(golden: Golden) -> Iterator[Comparison]:
    """The published script on a photo: in patches, and squashed to a square.

    Both are its own habits, which this runner alone follows: our nodes keep the aspect, and tile
    with feathered seams.
    """
    for limits, starts in golden.facts["starts length/patch/stride"].items():
        yield same(f"starts {limits}", patch_starts(*map(int, limits.split("/"))), starts)
    parts = parts_of(as_checkpoint({"": weights_of(golden)}))
    config, note = golden.facts["config"], golden.facts["note"]
    photo = golden.tensors["img_u8"].float() / 255

    def whole(x: Tensor, eps: Tensor) -> Tensor:
        part, mean, flow = parts
        latents = restore.posterior_mean(mean, autoencode.encode(part, x, tile=WHOLE))
        steps, noise_std = config["k_steps"], config["sigma_s"]
        restored = restore.sample(
            flow, latents, eps, steps=steps, source_noise=noise_std, tile=WHOLE
        )
        return autoencode.decode(part, restored, tile=WHOLE)

    for case in cases(golden, "out"):
        eps, theirs = golden.tensors[f"{case}.eps"], golden.tensors[f"{case}.out"]
        if theirs.shape[-2] * photo.shape[-1] == theirs.shape[-1] * photo.shape[-2]:
            size, stride, scale = (
                int(re.search(rf"{key}=(\d+)", note)[1])
                for key in ("chop_size", "chop_stride", "upscale")
            )
            ours = in_patches(lambda x, eps=eps: whole(x, eps), photo, size, stride, scale)
        else:
            ours = whole(F.interpolate(photo, theirs.shape[-2:], mode="bicubic"), eps)
        yield compare(f"{case}.out", ours, theirs, PICTURE_TOLERANCE)


def patch_starts(length: int, patch: int, stride: int) -> list[int]:
    """Those that would leave the picture are moved back to its end."""
    return sorted({min(start, max(length - patch, 0)) for start in range(0, length, stride)})


def in_patches(function, photo: Tensor, size: int, stride: int, scale: int) -> Tensor:
    """Patches of the small photo, padded and enlarged one by one, and averaged where they meet."""
    height, width = photo.shape[-2:]
    total = photo.new_zeros(*photo.shape[:2], height * scale, width * scale)
    count = torch.zeros_like(total)
    for top in patch_starts(height, size, stride):
        for left in patch_starts(width, size, stride):
            patch = photo[..., top : top + size, left : left + size]
            rows, columns = patch.shape[-2:]
            padded = F.pad(patch, (0, -columns % PATCH, 0, -rows % PATCH), mode="reflect")
            restored = function(F.interpolate(padded, scale_factor=scale, mode="bicubic"))
            area = (..., slice(top * scale, (top + rows) * scale),
                    slice(left * scale, (left + columns) * scale))  # fmt: skip
            total[area] += restored[..., : rows * scale, : columns * scale]
            count[area] += 1
    return total / count


def losses(golden: Golden) -> Iterator[Comparison]:
    """The training objectives, and the norm of each part's gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        found = {name: trained(golden, facts) for name, facts in golden.facts["losses"].items()}
    for name, (loss, norms) in found.items():
        yield compare(f"loss.{name}", loss, golden.tensors[f"loss.{name}"])
        for part, expected in golden.facts["losses"][name]["grad_norm"].items():
            ours, theirs = (torch.tensor(value) for value in (norms[part], expected))
            yield compare(f"{name}: gradient of {part}", ours / theirs, theirs / theirs)


def trained(golden: Golden, facts: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    """An objective's value [1], and the gradients' norms."""
    part, mean, flow = parts_of(as_checkpoint({"": weights_of(golden)}))
    learning = {"enc": part.network.encoder, "mmse": mean.network, "fmir": flow.network}
    for network in learning.values():
        network.requires_grad_(True)
    teacher = TAESD(golden.facts["config"]["taesd_width"], CHANNELS).encoder
    teacher.load_state_dict(stored(golden, "teacher_enc."))
    settings = facts["fm_cfg"]
    networks = consistency.Networks(
        learning["enc"], mean.network, flow.network, teacher,
        part.network.decoder if "mse" in settings["method"] else None,
    )  # fmt: skip
    clean, degraded, eps, u = (golden.tensors[n].clone() for n in ("x_hq", "x_lq", "eps", "u"))
    loss = objective(networks, settings, clean, degraded, u.flatten(), eps)
    loss.backward()
    norms = {
        name: torch.stack([p.grad.norm() for p in network.parameters()]).norm().item()
        for name, network in learning.items()
    }
    return loss.detach().reshape(1), norms


def objective(networks, settings, clean, degraded, u, eps) -> Tensor:
    """The published objective of this name."""
    if "cfm" in settings["method"]:
        return consistency.losses(
            networks, clean, degraded, (1 - settings["dt"]) * u, eps,
            noise_std=settings["sigma_s"], segments=settings["k_steps"], dt=settings["dt"],
            alpha=settings["alpha"], beta=settings["beta"],
        )  # fmt: skip
    z, mean = consistency.latents(networks, clean, degraded)
    source = mean.detach() + settings["sigma_s"] * eps
    return F.mse_loss(mean, z) + consistency.flow_matching(networks.velocity, source, z, u)


def keys(golden: Golden) -> Iterator[Comparison]:
    """Names, shapes and order of a released file, and of one that is still over-parametrised."""
    facts = golden.facts
    theirs = {name: tuple(shape) for name, shape in facts["keys"].items()}
    ours: dict[str, tuple] = {}
    for part in ("fmir.", "mmse.", "enc.", "dec."):
        network = built(part, select(theirs, part))
        ours |= {part + name: shape for name, shape in shapes_in(network).items()}
        count = sum(parameter.numel() for parameter in network.parameters())
        yield same(f"{part}* (parameters)", count, facts["params"][part.removesuffix(".")])
    yield from same_keys(ours, theirs, "")
    wide = {name: tuple(shape) for name, shape in facts["uncollapsed_only_or_reshaped"].items()}
    hollow = {n: torch.empty(shape, device="meta") for n, shape in {**theirs, **wide}.items()}
    single = taesd.shapes_of(elir.collapse(hollow))
    yield same(f"collapsed ({len(hollow)} names)", single, theirs)


def built(part: str, shapes: dict[str, tuple]) -> nn.Module:
    """The network that the family makes of these shapes."""
    with torch.device("meta"):
        builders = {
            "fmir.": elir.build_flow,
            "mmse.": elir.build_mean,
            "enc.": lambda shapes: TAESD(*taesd.Shape.of_encoder(shapes)).encoder,
            "dec.": lambda shapes: TAESD(*taesd.Shape.of_decoder(shapes)).decoder,
        }
        return builders[part](shapes)


def is_elir(golden: Golden) -> bool:
    return {"fmir", "mmse"} <= set(golden.facts.get("config", ()))


KINDS: list[Kind] = [
    (lambda g: any(re.fullmatch(r"d\d+\.K\d+", name) for name in g.tensors), time_embedding),
    (lambda g: "latent_channels" in g.facts and bool(cases(g, "dec_zrand")), autoencoder),
    (lambda g: is_elir(g) and "losses" in g.facts, losses),
    (lambda g: is_elir(g) and "img_u8" in g.tensors, inference),
    (lambda g: is_elir(g) and bool(cases(g, "eps")), pipeline),
    (lambda g: is_elir(g) and "fmir.first_proj.weight" in g.facts.get("keys", ()), keys),
]
