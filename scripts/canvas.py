"""ComfyUI's real front end in a headless browser: for the tests and the README's pictures."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from client import Client
from playwright.sync_api import Page, ViewportSize, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False}
STORAGE = "localStorage.setItem('vueNodesBannerDismissed', 'true')"
READY = """() => window.app?.graph && app.extensionManager
    && !document.querySelector('#splash-loader')"""
COUNT = "count => app.graph._nodes.length === count"
LOADED = "kinds => window.app?.graph?._nodes.map(node => node.type).sort().join() === kinds"
TITLE = 30  # a node's title lies above its position

BOXES = """vue => app.graph._nodes.map(node => {
    if (!vue) return [node.title, node.pos[0], node.pos[1] - TITLE,
                      node.size[0], node.size[1] + TITLE];
    const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
    return [node.title, box.x, box.y, box.width, box.height];
})""".replace("TITLE", str(TITLE))

UNKNOWN = """() => app.graph._nodes
    .filter(node => node.has_errors || !(node.type in LiteGraph.registered_node_types))
    .map(node => node.type)"""

RUN = """async () => {
    const api = app.api;
    window.previews = 0;
    api.addEventListener('b_preview', () => window.previews++);
    const ended = new Promise(done => {
        api.addEventListener('execution_success', () => done(''));
        for (const bad of ['execution_error', 'execution_interrupted'])
            api.addEventListener(bad, event => done(event.detail.exception_message ?? bad));
    });
    await app.queuePrompt(0);
    const refused = Object.values(app.lastNodeErrors ?? {}).flatMap(node => node.errors);
    return refused.map(error => error.details || error.message).join() || await ended;
}"""

PICTURES_DRAWN = """() => app.graph._nodes.filter(node => node.type.endsWith('Image')
    && ['LoadImage', 'PreviewImage', 'SaveImage'].includes(node.type))
    .every(node => node.imgs?.length && node.imgs.every(img => img.complete))"""


class Box(NamedTuple):
    """A node's rectangle, title included."""

    title: str
    x: float
    y: float
    width: float
    height: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share a point."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def overlaps(boxes: list[Box]) -> list[tuple[str, str]]:
    """The titles of every two boxes that share a point."""
    return [
        (box.title, other.title)
        for number, box in enumerate(boxes)
        for other in boxes[:number]
        if box.meets(other)
    ]


class Canvas:
    """One page of the front end."""

    def __init__(self, page: Page, url: str, vue: bool) -> None:
        self.page = page
        self.url = url
        self.vue = vue
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        # The front end asks the registry for nodes; offline its own policy forbids that.
        if message.type == "error" and "api.comfy.org" not in message.text:
            self.errors.append(message.text)

    @property
    def own_errors(self) -> list[str]:
        """What the console says of the pack."""
        return [error for error in self.errors if "restoreflow" in error.lower()]

    def open(self, name: str) -> None:
        """Open a template of the pack by its address."""
        kinds = sorted(node["type"] for node in template(name)["nodes"])
        self.page.goto(f"{self.url}/?template={name}&source=restoreflow")
        self.page.wait_for_function(LOADED, arg=",".join(kinds), timeout=90_000)
        self.settle()

    def open_empty(self) -> None:
        """Open the front end with nothing on the canvas."""
        self.page.goto(self.url)
        self.page.wait_for_function(READY, timeout=90_000)
        self.page.evaluate("app.graph.clear()")

    def fit(self) -> None:
        """Show the whole graph."""
        self.command("Comfy.Canvas.FitView")
        self.page.wait_for_function(
            """async () => {
                const read = () => [app.canvas.ds.scale, ...app.canvas.ds.offset].join();
                const before = read();
                await new Promise(done => setTimeout(done, 300));
                return before === read();
            }"""
        )

    def command(self, name: str) -> None:
        """Run a command of the front end."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def settle(self) -> None:
        """Wait until the graph is drawn, in Nodes 2.0 until every node is an element."""
        if self.vue:
            self.page.wait_for_function(
                "() => app.graph._nodes.every("
                "node => document.querySelector(`[data-node-id='${node.id}']`))"
            )
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")

    def wait_for_nodes(self, count: int) -> None:
        """Wait until so many nodes are there."""
        self.page.wait_for_function(COUNT, arg=count)
        self.settle()

    def nodes(self) -> list[str]:
        """The nodes' types, sorted."""
        return sorted(self.page.evaluate("() => app.graph._nodes.map(node => node.type)"))

    def unknown(self) -> list[str]:
        """The types that the front end does not know or finds fault with."""
        return self.page.evaluate(UNKNOWN)

    def dialogs(self) -> list[str]:
        """What the open dialogs say."""
        return self.page.locator("[role=dialog]:visible").all_inner_texts()

    def boxes(self) -> list[Box]:
        """The nodes' rectangles as they are drawn."""
        return [Box(*box) for box in self.page.evaluate(BOXES, self.vue)]

    def set(self, kind: str, widget: str, value: object) -> None:
        """Set a widget of the first node of a type, as a user's hand does."""
        self.page.evaluate(
            """([kind, name, value]) => {
                const node = app.graph._nodes.find(node => node.type === kind);
                const widget = node.widgets.find(widget => widget.name === name);
                if (widget.options?.values && !widget.options.values.includes?.(value))
                    widget.options.values.push?.(value);
                widget.value = value;
                widget.callback?.(value);
            }""",
            [kind, widget, value],
        )

    def run(self, seconds: float = 120) -> int:
        """Run the graph to its end; how many live previews came. RuntimeError where it failed."""
        self.page.set_default_timeout(1000 * seconds)
        if failure := self.page.evaluate(RUN):
            raise RuntimeError(failure)
        return self.page.evaluate("window.previews")

    def wait_for_pictures(self) -> None:
        """Wait until every picture node shows its picture."""
        self.page.wait_for_function(PICTURES_DRAWN, timeout=30_000)
        self.settle()

    def results(self, title: str) -> list[dict[str, str]]:
        """Where the host keeps the pictures of the node with that title."""
        return self.page.evaluate(
            """title => {
                const node = app.graph._nodes.find(node => node.title === title);
                return app.nodeOutputs[node.id]?.images ?? [];
            }""",
            title,
        )


def browser() -> str | None:
    """The path of a Chromium on this machine; RESTOREFLOW_BROWSER chooses one."""
    chosen = os.environ.get("RESTOREFLOW_BROWSER")
    found = filter(None, map(shutil.which, (chosen,) if chosen else BROWSERS))
    return next(found, None)


@contextmanager
def canvas(
    client: Client, vue: bool = False, width: int = 1700, height: int = 1000, scale: float = 1
) -> Iterator[Canvas]:
    """A page of the host's front end, classic or Nodes 2.0, without first-start dialogs."""
    for name, value in {**SETTINGS, "Comfy.VueNodes.Enabled": vue}.items():
        client.post(f"/settings/{name}", json.dumps(value).encode())
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=list(FLAGS))
        try:
            page = chromium.new_page(
                viewport=ViewportSize(width=width, height=height), device_scale_factor=scale
            )
            page.add_init_script(STORAGE)
            yield Canvas(page, client.url, vue)
        finally:
            chromium.close()


def template(name: str) -> dict[str, Any]:
    """A template of the pack."""
    path = Path(__file__).resolve().parents[1] / "workflows" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))
