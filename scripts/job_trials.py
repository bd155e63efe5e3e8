"""Photo jobs put to the test on a real host: folders of photos, good and bad, and what is watched.

Both the benchmark and the tests use it; the job's graph does nothing to a photo but take its time.
"""

import io
import json
import random
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfyui
import numpy as np
import psutil
from client import Client
from PIL import Image

SLOW_NODE = '''"""A network that keeps some device busy and leaves the processor free."""

import json, time
from pathlib import Path


class Busy:
    CATEGORY, FUNCTION, RETURN_TYPES = "benchmark", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        seconds = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 60.0, "step": 0.001})
        return {"required": {"image": ("IMAGE",), "seconds": seconds}}

    def run(self, image, seconds):
        begun = time.time()
        image = 1 - image
        time.sleep(max(0.0, begun + seconds - time.time()))
        with open(Path(__file__).with_name("busy.jsonl"), "a") as file:
            file.write(json.dumps([begun, time.time()]) + "\\n")
        return (image,)


NODE_CLASS_MAPPINGS = {"BenchmarkBusy": Busy}
'''
BUSY_FOLDER = "benchmark_busy"
ENDED = ("paused", "interrupted", "cancelled", "finished", "stopped")


def graph(seconds: float = 0.0, group: int = 1) -> dict[str, Any]:
    """Job Photo, a node that takes so long, Save Restored Photo; in API form."""
    saving = {
        "image": ["2", 0],
        "photo": ["1", 2],
        **{"suffix": "_restored", "format": "as the source", "bits": "as the source"},
        **{"quality": 0, "metadata": "keep", "colour": "source profile", "grey": "as it is"},
        **{"embed_workflow": True, "sidecar": False, "replace": False},
    }
    photo = {"folder": "", "index": 0, "group": group}
    busy = {"image": ["1", 0], "seconds": seconds}
    return {
        "1": {"class_type": "RestoreFlowJobPhoto", "inputs": photo},
        "2": {"class_type": "BenchmarkBusy", "inputs": busy},
        "3": {"class_type": "RestoreFlowSaveRestoredPhoto", "inputs": saving},
    }


# Photos


def fill(folder: Path, count: int, side: int = 64, seed: int = 0) -> None:
    """So many small JPEGs, all different, a hundred to a folder."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        place = folder / f"{number // 100:03}" / f"photo {number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = draw.integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x010E] = f"photo {number}"
        picture.save(place, quality=90, exif=exif)


def _encoded(format: str, side: int = 64) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(file, format)
    return file.getvalue()


def bad_files() -> dict[str, bytes]:
    """Ten kinds of files that no photo can be made of, by name."""
    png, jpeg = _encoded("PNG"), _encoded("JPEG")
    header = bytearray(png[:33])
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "empty.jpg": b"",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": png[: len(png) // 2],
        "cut.webp": _encoded("WEBP")[:200],
        "cut.tif": _encoded("TIFF")[:200],
        "text.jpg": b"This is no photo.",
        "png.jpg": png,
        "noise.png": bytes(np.random.default_rng(2).integers(0, 256, 5000, np.uint8)),
        "bomb.png": bytes(header) + png[33:],
        "damaged.png": bytes(flipped),
    }


def spoil(folder: Path, count: int) -> set[str]:
    """Put so many bad files among the photos; their paths."""
    kinds = list(bad_files().items())
    paths = set()
    for number in range(count):
        name, data = kinds[number % len(kinds)]
        place = folder / f"{number % 3:03}" / f"bad {number} {name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        paths.add(place.relative_to(folder).as_posix())
    return paths


# The host and its jobs


@dataclass
class Jobs:
    """The photo jobs of a running host."""

    host: comfyui.Host
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.host.url)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return json.loads(self.client.post(f"/restoreflow{path}", json.dumps(body).encode()))

    def get(self, path: str) -> dict[str, Any]:
        return self.client.json(f"/restoreflow{path}")

    def start(self, graph: dict, source: Path, target: Path, **more: Any) -> int:
        """A job of these folders; its number."""
        made = self.post("/jobs", graph=graph, source=str(source), target=str(target), **more)
        return made["job"]["id"]

    def job(self, number: int) -> dict[str, Any]:
        return self.get(f"/jobs/{number}")["job"]

    def only(self) -> dict[str, Any]:
        """The one job that there is."""
        (job,) = self.get("/jobs")["jobs"]
        return job

    def wait_until_settled(self, count: float) -> None:
        """Wait until so many photos of the one job are done or failed."""
        wait_for(lambda: settled(self.only()) >= count)

    def photos(self, number: int, *states: str) -> Iterator[dict[str, Any]]:
        """All photos of a job, or those in some states."""
        after = ""
        chosen = "".join(f"&state={state}" for state in states)
        while page := self.client.json(
            f"/restoreflow/jobs/{number}/photos?count=500{chosen}&after={_quoted(after)}"
        )["photos"]:
            yield from page
            after = page[-1]["place"]

    def wait(self, number: int, seconds: float = 600) -> dict[str, Any]:
        """The job once it has ended."""
        return wait_for(lambda: self._ended(number), seconds)

    def _ended(self, number: int) -> dict[str, Any] | None:
        job = self.job(number)
        return job if job["state"] in ENDED else None


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def wait_for(what: Callable[[], Any], seconds: float = 120, pause: float = 0.05) -> Any:
    """Ask again until there is an answer."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen within {seconds:.0f} s")
        time.sleep(pause)
    return found


@contextmanager
def hosted(folder: Path) -> Iterator[Jobs]:
    """A host in that folder, with the slow node."""
    with comfyui.Host(comfyui.find(), prepared(folder)) as host:
        yield Jobs(host)


def prepared(folder: Path) -> Path:
    """A host's folder with the slow node in it."""
    node = folder / "custom_nodes" / BUSY_FOLDER
    node.mkdir(parents=True, exist_ok=True)
    (node / "__init__.py").write_text(SLOW_NODE)
    return folder


def busy_seconds(folder: Path) -> tuple[float, float]:
    """How long the slow node worked, and how long that took from its first call to its last."""
    file = folder / "custom_nodes" / BUSY_FOLDER / "busy.jsonl"
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    return sum(end - begun for begun, end in spans), spans[-1][1] - spans[0][0]


@contextmanager
def killed(folder: Path, source: Path, target: Path, made: dict, kills: int) -> Iterator[Jobs]:
    """A host that has brought a job to its end though it was killed that often on the way."""
    draw, done = random.Random(0), 0.0
    for turn in range(kills):
        with hosted(folder) as jobs:
            if not turn:
                jobs.start(made, source, target, auto_resume=True)
            total = wait_for(lambda jobs=jobs: jobs.only()["total"])
            done += draw.uniform(0.2, 1.8) * (0.9 * total - done) / (kills - turn)
            jobs.wait_until_settled(min(done, total - 2))
            time.sleep(draw.uniform(0, 0.1))
            jobs.host.process.kill()
    with hosted(folder) as jobs:
        jobs.wait(jobs.only()["id"])
        yield jobs


def settled(job: dict[str, Any]) -> int:
    """Photos of a job that are done or failed."""
    return sum(job["counts"].get(state, 0) for state in ("done", "failed", "skipped"))


@dataclass
class Watch:
    """What is seen of a host while a job runs, several times a second."""

    memory: list[tuple[int, int]] = field(default_factory=list)
    """Photos settled, and the host's resident bytes."""
    most_queued: int = 0

    def growth(self) -> float:
        """The host's memory in the last tenth of the job over that in the second tenth."""
        last = self.memory[-1][0]
        tenth = [[m for n, m in self.memory if a <= n / last * 10 <= a + 1] for a in (1, 9)]
        return float(np.median(tenth[1]) / np.median(tenth[0]))


@contextmanager
def watched(jobs: Jobs, number: int) -> Iterator[Watch]:
    """Watch a job's host."""
    process, watch, over = psutil.Process(jobs.host.process.pid), Watch(), threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            try:
                queue = jobs.client.json("/queue")
                count = len(queue["queue_running"]) + len(queue["queue_pending"])
                watch.most_queued = max(watch.most_queued, count)
                watch.memory.append((settled(jobs.job(number)), process.memory_info().rss))
            except (urllib.error.URLError, psutil.Error):
                continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones, too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
