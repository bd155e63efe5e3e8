"""Transports kept: saving one that was fitted, and loading it again."""

from comfy_api.latest import io

from ..models.checkpoint import WeightsError
from ..sampling.transport import Transport
from . import host, weights
from . import transport_files as files
from .sockets import TRANSPORT


class SaveTransport(io.ComfyNode):
    """A fitted transport, kept."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowSaveTransport",
            display_name="Save Transport",
            category="RestoreFlow/transport",
            description=f"Saves a fitted transport in models/{files.FOLDER}: a small file "
            "that tells its VAE, its settings and how many photos it was fitted on.",
            search_aliases=["deep optimal transport", "dot"],
            is_output_node=True,
            inputs=[
                TRANSPORT.Input("transport", tooltip="From Fit Transport."),
                io.String.Input("name", default="transport", tooltip="Of the file."),
                io.Boolean.Input(
                    "replace", default=False, tooltip="Save over a transport of that name."
                ),
            ],
            outputs=[TRANSPORT.Output(display_name="transport", tooltip="As it came.")],
        )

    @classmethod
    def execute(cls, transport, name, replace) -> io.NodeOutput:
        transport = host.expect(transport, Transport, "Save Transport")
        path = files.write(transport, name, replace)
        host.tell(f"Saved as {path.name}.")
        return io.NodeOutput(transport)


class LoadTransport(io.ComfyNode):
    """A transport that was fitted before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowLoadTransport",
            display_name="Load Transport",
            category="RestoreFlow/transport",
            description="Loads a transport that Save Transport has saved, or that somebody shares. "
            "It works with the VAE that it was fitted with, and with no other.",
            search_aliases=["deep optimal transport", "dot"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[] if weights.is_host_loading() else files.names(),
                    tooltip=f"A file in models/{files.FOLDER}.",
                )
            ],
            outputs=[TRANSPORT.Output(display_name="transport", tooltip="For Apply Transport.")],
        )

    @classmethod
    def validate_inputs(cls, file) -> bool | str:
        try:
            return file is None or bool(files.path_of(file))
        except WeightsError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file):
        status = files.path_of(file).stat()
        return f"{file} {status.st_size} {status.st_mtime_ns}"

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(files.read(files.path_of(file)))
