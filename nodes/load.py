"""Loader nodes: from a weight file to one part of a restoration."""

from comfy_api.latest import io

from ..models import hub, registry
from ..models.contracts import Part
from . import host, vae
from . import weights as files
from .sockets import FLOW, POSTERIOR_MEAN

_WATCH = {"progress": host.progress, "tell": host.tell}


def _weights(default: str = files.DEMO) -> io.Combo.Input:
    fetched = ", ".join(known.label for known in hub.KNOWN if known.is_offered)
    return io.Combo.Input(
        "weights",
        options=files.choices(),
        default=default,
        tooltip="A file in models/restoreflow, or a demo's. What it holds is read from its keys, "
        "never from its name; one file may hold several parts. These are fetched on their first "
        f"run: {fetched}.",
    )


def _load(weights: str, role: str, precision: str, ema: bool) -> Part:
    return files.load(weights, role, precision, ema, **_WATCH)


def _precision() -> io.Combo.Input:
    return host.advanced(
        io.Combo.Input(
            "precision",
            optional=True,
            options=list(files.PRECISIONS),
            default="auto",
            tooltip="Precision of the weights. auto is float32 for posterior means and VAEs, and "
            "for flows follows ComfyUI's own rules for your device; float32 is the most exact and "
            "takes twice the memory.",
        )
    )


def _ema() -> io.Boolean.Input:
    return host.advanced(
        io.Boolean.Input(
            "ema",
            optional=True,
            default=True,
            tooltip="Where a training checkpoint holds both, take the moving averages of the "
            "weights, as a rule the better ones; off takes the weights of the last step.",
        )
    )


class LoadPosteriorMean(io.ComfyNode):
    """The estimator that a restoration starts from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowLoadPosteriorMean",
            display_name="Load Posterior Mean",
            category="RestoreFlow/load",
            description="Loads a posterior-mean estimator: the network whose answer has the least "
            "mean squared error. PMRF's and ELIR's own and any restoration network that spandrel "
            "knows.",
            search_aliases=[
                "pmrf",
                "elir",
                "latent",
                "mmse",
                "denoiser",
                "swinir",
                "nafnet",
                "restore",
                "load",
            ],
            inputs=[_weights(), _precision(), _ema()],
            outputs=[
                POSTERIOR_MEAN.Output(
                    display_name="posterior mean",
                    tooltip="For Posterior Mean; one of latents for Posterior Mean (Latent).",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None) -> bool | str:
        return files.check(weights)

    @classmethod
    def fingerprint_inputs(cls, weights: str | None, **_) -> str:
        return files.fingerprint(weights)

    @classmethod
    def execute(cls, weights: str, precision: str = "auto", ema: bool = True) -> io.NodeOutput:
        return io.NodeOutput(_load(weights, registry.POSTERIOR_MEAN, precision, ema))


class LoadFlow(io.ComfyNode):
    """The flow that makes a posterior mean lifelike."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowLoadFlow",
            display_name="Load Flow",
            category="RestoreFlow/load",
            description="Loads a flow: the network that carries a posterior mean to a lifelike "
            "picture, in pixels (PMRF) or in latents (Latent-PMRF, ELIR), or a flow map.",
            search_aliases=["pmrf", "elir", "latent", "rectified flow", "flow map", "hdit", "load"],
            inputs=[_weights(), _precision(), _ema()],
            outputs=[
                FLOW.Output(
                    display_name="flow",
                    tooltip="For a flow sampler; a flow map for Flow-Map Denoise or a solver.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None) -> bool | str:
        return files.check(weights)

    @classmethod
    def fingerprint_inputs(cls, weights: str | None, **_) -> str:
        return files.fingerprint(weights)

    @classmethod
    def execute(cls, weights: str, precision: str = "auto", ema: bool = True) -> io.NodeOutput:
        return io.NodeOutput(_load(weights, registry.FLOW, precision, ema))


class LoadRestorationVAE(io.ComfyNode):
    """The autoencoder whose latents a restoration works on, as ComfyUI's own VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowLoadRestorationVAE",
            display_name="Load Restoration VAE",
            category="RestoreFlow/load",
            description="Loads an autoencoder: Sim-VAE, ELIR's, TAESD3 or a usual one in "
            "diffusers' or the original format. ComfyUI's own VAE nodes work with it, too.",
            search_aliases=["vae", "sim-vae", "elir", "taesd3", "autoencoder", "load"],
            inputs=[_weights(files.LATENT_DEMO), _precision(), _ema()],
            outputs=[io.Vae.Output(display_name="vae", tooltip="For Encode and Decode.")],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None) -> bool | str:
        return files.check(weights)

    @classmethod
    def fingerprint_inputs(cls, weights: str | None, **_) -> str:
        return files.fingerprint(weights)

    @classmethod
    def execute(cls, weights: str, precision: str = "auto", ema: bool = True) -> io.NodeOutput:
        return io.NodeOutput(vae.load(weights, precision, ema, **_WATCH))
