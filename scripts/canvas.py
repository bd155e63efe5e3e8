"""ComfyUI's real front end in a headless browser: for the tests and the README's pictures."""

import base64
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
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Window.UnloadConfirmation": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # texts are drawn however small they are
}
# Every page starts as the first one did, without the workflows that were open before.
STORAGE = """localStorage.clear(); sessionStorage.clear();
    localStorage.setItem('vueNodesBannerDismissed', 'true')"""
# What the front end asks for without need: the registry's nodes, which its own policy forbids
# offline, and a help page in the user's language before the one page there is.
NEEDLESS = ("api.comfy.org", "/en.md")
READY = """() => window.app?.graph?._nodes.length && app.extensionManager
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
    .filter(node => !(node.type in LiteGraph.registered_node_types))
    .map(node => node.type)"""

# As the front end's own dialog of templates does.
LOAD = """async name => {
    const found = await app.api.fetchApi(`/workflow_templates/restoreflow/${name}.json`);
    await app.loadGraphData(await found.json(), true, true, name, {openSource: 'template'});
}"""

GRAPH = """() => {
    const {nodes, links} = app.graph.serialize();
    return {
        nodes: nodes.map(({id, type, title, widgets_values, inputs}) =>
            ({id, type, title, widgets_values, inputs: inputs?.map(slot => slot.name)})),
        links: links.map(link => link.slice(1)),
    };
}"""

DROP = """([name, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, {type: kind}));
    for (const event of ['dragenter', 'dragover', 'drop'])
        app.canvas.canvas.dispatchEvent(
            new DragEvent(event, {bubbles: true, cancelable: true, dataTransfer}));
}"""

# The dialog of older front ends; the notice of newer ones, which opens a list.
ISSUES = "[role=dialog]:visible, [data-testid=error-overlay]:visible"
MISSING = ".comfy-missing-models [role=option], [data-testid=error-group-missing-model]"

RUN = """async () => {
    const api = app.api;
    window.previews = 0;
    api.addEventListener('b_preview', () => {
        if (Object.keys(app.nodePreviewImages).length) window.previews++;
    });
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
    .every(node => {
        const drawn = document.querySelectorAll(`[data-node-id="${node.id}"] img`);
        const pictures = [...(node.imgs ?? []), ...drawn];
        return pictures.length && pictures.every(picture => picture.complete);
    })"""


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
        text = f"{message.text} ({message.location.get('url')})"
        if message.type == "error" and not any(part in text for part in NEEDLESS):
            self.errors.append(text)

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

    def load(self, name: str) -> None:
        """Open a template on the page as it stands: far faster than by its address."""
        self.page.evaluate(LOAD, name)
        self.settle()

    def open_empty(self) -> None:
        """Open the front end with nothing on the canvas."""
        self.page.goto(self.url)
        self.page.wait_for_function(READY, timeout=90_000)
        self.command("Comfy.NewBlankWorkflow")
        self.wait_for_nodes(0)

    def fit(self) -> None:
        """Show the whole graph."""
        self.command("Comfy.Canvas.FitView")
        self.page.wait_for_function(
            """async () => {
                const read = () => [app.canvas.ds.scale, ...app.canvas.ds.offset].join();
                const before = read(), frame = () => new Promise(requestAnimationFrame);
                await new Promise(done => setTimeout(done, 300));
                await frame();  // a busy machine draws none in 300 ms, and the view still moves
                await frame();
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
        """The types that the front end does not know."""
        return self.page.evaluate(UNKNOWN)

    def issues(self) -> list[str]:
        """What the front end complains of, in dialogs or in a notice."""
        return self.page.locator(ISSUES).all_inner_texts()

    def missing_models(self) -> str:
        """What it says of missing weights; waits for it, and closes what said it."""
        self.page.locator(ISSUES).first.wait_for()
        if (more := self.page.get_by_test_id("error-overlay-see-errors")).is_visible():
            more.click()
        listed = self.page.locator(MISSING)
        listed.first.wait_for()
        text = "\n".join(listed.all_inner_texts())
        self.page.keyboard.press("Escape")
        self.page.locator(ISSUES).first.wait_for(state="hidden")
        return text

    def add(self, kind: str) -> None:
        """Put a node of that type alone onto the canvas and select it, as a click does."""
        self.page.evaluate(
            """kind => {
                app.graph.clear();
                const node = LiteGraph.createNode(kind), {scale, offset} = app.canvas.ds;
                node.pos = [600 / scale - offset[0], 300 / scale - offset[1]];
                app.graph.add(node);
                app.canvas.selectItems([node]);
            }""",
            kind,
        )
        self.wait_for_nodes(1)

    def help(self, title: str) -> str:
        """The text of the help page with that title, opened by the selected node's own button."""
        self.page.get_by_test_id("info-button").click()
        page = self.page.locator(".node-help-content")
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        return page.inner_text()

    def graph(self) -> dict[str, Any]:
        """Nodes with their widgets' values, and links."""
        return self.page.evaluate(GRAPH)

    def drop(self, name: str, kind: str, data: bytes) -> None:
        """Drop a file of that media type on the canvas."""
        self.page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])

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
        """Run the graph to its end, or RuntimeError; how often nodes showed a live preview."""
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
