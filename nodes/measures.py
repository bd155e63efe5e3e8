"""Measures of pictures: as text on a node, and in the report of the job that asked for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan

from comfy_api.latest import io, ui
from torch import Tensor

from ..jobs.photos import PhotoError
from ..sampling.judging import mean_of
from . import host, jobs
from .photo_files import Carried
from .sockets import PHOTO


@dataclass(frozen=True)
class Kind:
    """How a measure is written."""

    title: str
    form: str

    def text(self, value: float) -> str:
        return f"{self.title} {self.form.format(value) if not isnan(value) else 'unknown'}"


KINDS = {
    "psnr": Kind("PSNR", "{:.2f} dB"),
    "ssim": Kind("SSIM", "{:.4f}"),
    "texture": Kind("texture", "{:.2f}/255"),
    "lpips": Kind("LPIPS", "{:.4f}"),
    "indrmse": Kind("IndRMSE", "{:.2f}/255"),
    "residual": Kind("residual", "{:.2f}/255"),
    "residual ratio": Kind("residual", "{:.2f} x noise"),
    "niqe": Kind("NIQE", "{:.2f}"),
    "musiq": Kind("MUSIQ", "{:.1f}"),
    "sample": Kind("sample", "{:.0f}"),
    "spread": Kind("spread", "{:.2f}/255"),
}
NONE = float("nan")
"""What was not measured."""


def photo_input() -> io.Input:
    """The photo that measures belong to."""
    return PHOTO.Input(
        "photo",
        optional=True,
        tooltip="From Job Photo: in a photo job the numbers of each photo go to its report.",
    )


def label_input() -> io.Input:
    """What tells the measures of two nodes apart."""
    return host.advanced(
        io.String.Input(
            "label",
            optional=True,
            default="",
            tooltip="Goes before the names in the report; needed where one job measures twice.",
        )
    )


def record(photo: tuple[Carried, ...] | None, index: int, name: str, value: float) -> None:
    """Enter a measure of the photo of that place in a batch, if a job asked for that photo.

    What is no finite number is entered as unknown.

    Raises:
        PhotoError: the prompt is not a job's.
    """
    if photo is None or photo[index].row is None:
        return
    one, engine = photo[index], jobs.engine()
    if not engine.flights.are_for(one.asker, [one.row]):
        raise PhotoError("Only a running job's own prompt enters measures of its photos.")
    engine.ledger.record(one.row, name, value if isfinite(value) else NONE)


def record_all(
    photo: tuple[Carried, ...] | None, found: Mapping[str, Tensor], label: str = ""
) -> None:
    """Enter measures [B] of a batch.

    Raises:
        ValueError: they are not one a photo.
    """
    if photo is None or host.expect(photo, tuple, "The photo input")[0].row is None:
        return
    prefix = f"{label.strip()} " if label.strip() else ""
    for name, values in found.items():
        if len(values) != len(photo):
            raise ValueError(
                f"{len(values)} pictures were measured for {len(photo)} photos: give one for each."
            )
        for index, value in enumerate(values.tolist()):
            record(photo, index, prefix + name, value)


def average(found: Mapping[str, Tensor], name: str) -> float:
    """A measure's one number for the batch; NaN if it was not measured."""
    return mean_of(name, found[name]) if name in found else NONE


def report(found: Mapping[str, Tensor]) -> str:
    """A line for each picture and, for several, one for all."""
    batch = len(next(iter(found.values())))
    lines = [
        f"picture {index + 1}: {_line({name: found[name][index].item() for name in found})}"
        for index in range(batch)
    ]
    if batch > 1:
        lines.append(f"all {batch}: {_line({name: average(found, name) for name in found})}")
    return "\n".join(lines)


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(KINDS[name].text(value) for name, value in values.items())


def shown(text: str) -> ui.PreviewText:
    """A report on the node that runs, in the log and in the host's history."""
    host.tell(text)
    return ui.PreviewText(text)


def seen(image: Tensor, node: type[io.ComfyNode]) -> ui.PreviewImage | None:
    """An IMAGE on the node that runs, if somebody watches."""
    return ui.PreviewImage(image, cls=node) if host.watched() else None
