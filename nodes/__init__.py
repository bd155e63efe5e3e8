"""ComfyUI's skin: the nodes, in one list."""

from comfy_api.latest import ComfyExtension, io

from . import (
    compare,
    crops,
    degrade,
    face_points,
    faces,
    host,
    latent,
    load,
    photos,
    restore,
    routes,
)

NODES: list[type[io.ComfyNode]] = [
    load.LoadPosteriorMean,
    load.LoadFlow,
    restore.PosteriorMean,
    restore.SampleImage,
    restore.TradeOff,
    degrade.LoadDegradation,
    degrade.ApplyDegradation,
    load.LoadRestorationVAE,
    latent.Encode,
    latent.Decode,
    latent.PosteriorMeanLatent,
    latent.SampleLatent,
    photos.JobPhoto,
    photos.SaveRestoredPhoto,
    compare.BeforeAfter,
    faces.DetectFaces,
    faces.SelectFaces,
    crops.AlignFaces,
    crops.PasteFaces,
    face_points.FacesFromPoints,
]


class RestoreFlow(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register()
        routes.register()
        return NODES


async def comfy_entrypoint() -> RestoreFlow:
    """What ComfyUI calls when it loads the pack."""
    return RestoreFlow()
