"""ComfyUI's skin: the nodes, in one list."""

from comfy_api.latest import ComfyExtension, io

from . import (
    compare,
    crops,
    degrade,
    face_landmarks,
    face_points,
    faces,
    flow_maps,
    folder_distance,
    host,
    judge,
    latent,
    load,
    operators,
    photos,
    pick,
    plots,
    restore,
    routes,
    spread,
    trade_off,
    transport,
    transport_files,
    transport_load,
)

NODES: list[type[io.ComfyNode]] = [
    load.LoadPosteriorMean,
    load.LoadFlow,
    restore.PosteriorMean,
    restore.SampleImage,
    trade_off.TradeOff,
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
    face_landmarks.FacesFromLandmarks,
    judge.CompareToReference,
    judge.JudgeWithoutReference,
    folder_distance.CompareFolders,
    plots.PlotTradeOff,
    spread.MapUncertainty,
    pick.PickSample,
    trade_off.SweepTradeOff,
    transport.FitTransport,
    transport.ApplyTransport,
    transport.ApplyTransportImage,
    transport_load.SaveTransport,
    transport_load.LoadTransport,
    operators.DegradeByBlur,
    operators.DegradeByDownscale,
    operators.DegradeByMask,
    operators.DegradeByGrey,
    operators.DegradeByClipping,
    operators.DegradeByJPEG,
    operators.DegradeByNoise,
    operators.ChainDegradations,
    flow_maps.FlowMapDenoise,
    flow_maps.PlugAndPlay,
]


class RestoreFlow(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register()
        transport_files.register_folder()
        routes.register()
        return NODES


async def comfy_entrypoint() -> RestoreFlow:
    """What ComfyUI calls when it loads the pack."""
    return RestoreFlow()
