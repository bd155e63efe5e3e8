"""The distortion-perception plane as a picture."""

from types import ModuleType

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..sampling.trade_plane import Plane, plane, points_of
from . import host
from .measures import seen
from .picture import Picture

INCHES = (4.0, 3.0)
"""Of a figure in one column of a paper: at 1200 pixels that is 300 dpi."""
INK, MEASURED, THEORY = "#222222", "#1f5fa8", "#d9822b"


class PlotTradeOff(io.ComfyNode):
    """A sweep on the plane of distortion and perception."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return host.schema(
            node_id="RestoreFlowPlotTradeOff",
            display_name="Distortion-Perception Plot",
            category="RestoreFlow/judge",
            description="Plots what a Trade-Off Sweep costs and gains: error against texture, with "
            "the curve that theory has between its ends. Needs the optional library matplotlib.",
            search_aliases=["perception distortion", "plot", "chart", "pareto", "curve"],
            is_output_node=True,
            inputs=[
                io.Image.Input("points", tooltip="The pictures of Trade-Off Sweep."),
                io.String.Input(
                    "realisms",
                    default="0, 0.25, 0.5, 0.75, 1",
                    tooltip="The realism of each point, from the same Trade-Off Sweep.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The true pictures. Without them, distortion is the distance to the "
                    "faithful ones (realism 0, or the first).",
                ),
                io.Image.Input(
                    "natural",
                    optional=True,
                    tooltip="Photos whose texture counts as natural, of any size and number; "
                    "without them it is the reference's.",
                ),
                host.advanced(
                    io.Int.Input(
                        "width",
                        optional=True,
                        default=1200,
                        min=400,
                        max=4800,
                        step=100,
                        tooltip="Of the plot in pixels; 1200 is a column of a paper at 300 dpi.",
                    )
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="Four parts wide, three high."),
                io.String.Output(display_name="table", tooltip="The points, a line for each."),
            ],
        )

    @classmethod
    def execute(cls, points, realisms, reference=None, natural=None, width=1200) -> io.NodeOutput:
        pictures = Picture.of(points, "The sweep").rgb
        truth = None if reference is None else Picture.of(reference, "The reference").rgb
        others = None if natural is None else Picture.of(natural, "The natural photos").rgb
        found = plane(pictures, points_of(realisms, len(pictures)), truth, others)
        table = _table(found)
        host.tell(table)
        axes = (_distortion(truth is not None), _texture(others is not None))
        image = drawn(found, axes, width)
        return io.NodeOutput(image, table, ui=seen(image, cls))


def _distortion(to_truth: bool) -> str:
    to = "the reference" if to_truth else "the faithful picture"
    return f"Distortion: RMSE to {to} (1/255)"


def _texture(to_natural: bool) -> str:
    return f"Texture distance to {'natural photos' if to_natural else 'the reference'} (1/255)"


def _table(found: Plane) -> str:
    rows = zip(found.realisms, found.distortion, found.texture.tolist(), strict=True)
    return "\n".join(f"realism {r:g}: RMSE {d:.3f}/255, texture {t:.3f}/255" for r, d, t in rows)


def _library() -> ModuleType:
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError as error:
        raise RuntimeError(
            "The plot needs the optional library matplotlib; install it into the Python that runs "
            f"ComfyUI with: python -m pip install matplotlib ({error})"
        ) from error
    return matplotlib


def drawn(found: Plane, axes: tuple[str, str], width: int) -> Tensor:
    """An IMAGE of a sweep's points, each with its realism, and theory's curve between the ends.

    Args:
        axes: what is written along x and y.
        width: in pixels.

    Raises:
        RuntimeError: matplotlib is not there.
    """
    library = _library()
    with library.rc_context({"font.size": 8, "axes.linewidth": 0.6, "text.color": INK}):
        figure = library.figure.Figure(INCHES, dpi=width / INCHES[0], layout="constrained")
        canvas = library.backends.backend_agg.FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), found, axes)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(pixels.astype(np.float32))[None] / 255


def _draw(plot, found: Plane, axes: tuple[str, str]) -> None:
    x, y = found.distortion, found.texture.tolist()
    order = sorted(range(len(x)), key=found.realisms.__getitem__)
    line = [[values[i] for i in order] for values in (x, y)]
    if found.curve is not None:
        plot.plot(*found.curve.T.tolist(), color=THEORY, lw=1.4, label="theory between the ends")
    plot.plot(*line, color=MEASURED, lw=0.7, ls=(0, (3, 2)), alpha=0.8)
    plot.plot(*line, "o", color=MEASURED, ms=4, mec="white", mew=0.5, label="measured, by realism")
    for i in order:
        plot.annotate(
            f"{found.realisms[i]:g}".replace("-", "\N{MINUS SIGN}"),
            (x[i], y[i]),
            (4, 4),
            textcoords="offset points",
            fontsize=7,
            color=INK,
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8},
        )
    plot.set_xlabel(axes[0], color=INK)
    plot.set_ylabel(axes[1], color=INK)
    plot.margins(0.1)
    plot.tick_params(width=0.6, length=2.5, colors=INK)
    plot.grid(lw=0.3, alpha=0.5)
    plot.set_axisbelow(True)
    plot.spines[["top", "right"]].set_visible(False)
    plot.legend(frameon=False, fontsize=7)
