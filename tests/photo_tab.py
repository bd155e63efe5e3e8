"""The tab of photo jobs as a person uses it, on a page of a real front end."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from canvas import Canvas
from playwright.sync_api import Locator, Request, expect

MINUTE = 60_000
"""In ms."""

DROP = """(tab, files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
        dataTransfer.items.add(new File([bytes], name, {type}));
    }
    for (const event of ['dragenter', 'dragover', 'drop'])
        tab.dispatchEvent(new DragEvent(event, {bubbles: true, cancelable: true, dataTransfer}));
}"""


CUT = """tab => {
    const room = tab.getBoundingClientRect();
    const isCut = part => {
        const box = part.getBoundingClientRect();
        const isShortened = getComputedStyle(part).textOverflow === 'ellipsis';
        const isTooLong = part.clientWidth && part.scrollWidth > part.clientWidth + 1;
        return box.left < room.left - 1 || box.right > room.right + 1 || isTooLong && !isShortened;
    };
    return [...tab.querySelectorAll('*')]
        .filter(part => part.offsetParent && !part.closest('.rf-stage, bdi, input'))
        .filter(isCut).map(part => `${part.className}: ${part.textContent}`);
}"""


class PhotoTab:
    """The tab, opened by its button."""

    def __init__(self, canvas: Canvas) -> None:
        self.page = canvas.page
        self.element = self.page.locator(".rf-tab")
        self.photos = self.element.get_by_label("Photos", exact=True)
        self.results = self.element.get_by_label("Results", exact=True)
        self.facts = self.element.get_by_role("status").first
        self.alert = self.element.get_by_role("alert").first
        self.name = self.element.get_by_label("Name", exact=True)
        self.start = self.button("Start")
        if not self.element.is_visible():
            self.toggle()
        self.element.wait_for()

    def toggle(self) -> None:
        """Open or close it."""
        self.page.get_by_role("button", name="Photo jobs").first.click()

    def draw(self, width: int) -> float:
        """Make it as wide by its edge, as far as the front end lets it; its width then."""
        box = self.element.bounding_box()
        y = box["y"] + 200
        edge = box["x"] + box["width"] + 2
        grips = [grip.bounding_box() for grip in self.page.get_by_role("separator").all()]
        grip = min((one for one in grips if one), key=lambda one: abs(one["x"] - edge))
        self.page.mouse.move(grip["x"] + grip["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + width, y, steps=5)
        self.page.mouse.up()
        return self.element.bounding_box()["width"]

    def cut(self) -> list[str]:
        """Its visible parts that reach beyond it, or whose content reaches beyond them."""
        return self.element.evaluate(CUT)

    def button(self, name: str) -> Locator:
        """Its first button of exactly that name."""
        return self.element.get_by_role("button", name=name, exact=True).first

    def find(self, *names: str) -> None:
        """Go down from an allowed folder."""
        self.button("Browse for photos").click()
        for name in names:
            self.button(name).click()
        expect(self.photos).to_have_value(re.compile(f"{re.escape(names[-1])}$"))
        self.button("Browse for photos").click()

    def enter(self, folder: Path) -> None:
        """Type the path of a folder."""
        self.photos.fill(str(folder))
        self.photos.press("Enter")

    def drop(self, *files: tuple[str, str, bytes]) -> None:
        """Drop files of a name, a media type and a content."""
        encoded = [(name, kind, base64.b64encode(data).decode()) for name, kind, data in files]
        self.element.evaluate(DROP, encoded)

    def job(self, name: str) -> "Job":
        """The newest job of a name."""
        return Job(self.element.locator(".rf-job", has_text=name).first)


class Job:
    """A job in the tab."""

    def __init__(self, element: Locator) -> None:
        self.element = element
        self.slider = element.get_by_role("slider")
        self.place = element.locator(".rf-place")

    def button(self, name: str) -> Locator:
        """Its button of exactly that name."""
        return self.element.get_by_role("button", name=name, exact=True)

    def reaches(self, state: str) -> None:
        """Wait until it is in that state."""
        expect(self.element.locator(".rf-state")).to_have_text(state, timeout=MINUTE)

    def links(self) -> dict[str, str]:
        """The addresses of what it made, by their words."""
        found = self.element.get_by_role("link").all()
        return {link.inner_text(): link.get_attribute("href") for link in found}


@contextmanager
def watched(canvas: Canvas, part: str) -> Iterator[list[int]]:
    """How many requests whose address contains `part` were in flight, at each one's start."""
    flying: set[Request] = set()
    counts: list[int] = []

    def begin(request: Request) -> None:
        if part in request.url:
            flying.add(request)
            counts.append(len(flying))

    def end(request: Request) -> None:
        flying.discard(request)

    listeners = {"request": begin, "requestfinished": end, "requestfailed": end}
    for event, listener in listeners.items():
        canvas.page.on(event, listener)
    yield counts
    for event, listener in listeners.items():
        canvas.page.remove_listener(event, listener)
