"""A server that plays the pack's routes for photo jobs: each question does some photos more."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from loopback import running
from restoreflow.jobs.scan import natural_key, scan

TOKEN = "0123456789abcdef" * 4
SUFFIXES = {".png", ".jpg"}


def definition(**required: list) -> dict:
    return {"input": {"required": required, "optional": {"note": ["STRING", {"hidden": True}]}}}


INFO = {
    "RestoreFlowJobPhoto": definition(folder=["STRING", {}], group=["INT", {"min": 1, "max": 64}]),
    "Restore": definition(
        image=["IMAGE"],
        steps=["INT", {"min": 1, "max": 50}],
        strength=["FLOAT", {"min": 0.0, "max": 1.0}],
        solver=[["euler", "heun"], {}],
        weights=["COMBO", {"options": ["face/a.pth", "b.pth"]}],
        tiled=["BOOLEAN", {}],
    ),
    "RestoreFlowSaveRestoredPhoto": definition(
        image=["IMAGE"], photo=["PHOTO"], suffix=["STRING", {}]
    ),
}


GRAPH = {
    "1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"folder": "", "group": 1}},
    "2": {
        "class_type": "Restore",
        "inputs": {"image": ["1", 0], "steps": 5, "tiled": True},
        "_meta": {"title": "My v1.5"},
    },
    "3": {
        "class_type": "RestoreFlowSaveRestoredPhoto",
        "inputs": {"image": ["2", 0], "photo": ["1", 2], "suffix": "_r"},
    },
}


class Play:
    """The server's part: what it has, how it behaves, and what it was asked."""

    def __init__(self, url: str, root: Path) -> None:
        self.url, self.root = url, root
        self.roots = {name: root / name for name in ("input", "output")}
        self.token: Path | None = None
        self.bad: set[str] = set()
        self.gone: set[str] = set()
        self.left_out: str | None = None
        self.lost = 0
        self.notes: dict[str, list[str]] = {}
        self.stops: str | None = None
        self.redirect: str | None = None
        self.cut = 0
        """How many downloads to break off."""
        self.has_pack = True
        self.pace = 2
        self.jobs: list[dict] = []
        self.photos: dict[int, list[dict]] = {}
        self.asked: list[tuple[str, str, dict]] = []
        self.most_open = 0

    def made(self, what: str) -> list[str]:
        """The paths of all POSTs to a route."""
        return [path for method, path, _ in self.asked if method == "POST" and what in path]

    # Routes

    def get(self, path: str, query: dict) -> dict:
        match path.strip("/").split("/"):
            case ["object_info"]:
                return INFO
            case ["restoreflow", "token"]:
                return {"file": str(self.token)} if self.token else {"status": 403}
            case ["restoreflow", "folders"]:
                return {"roots": [{"name": n, "path": str(p)} for n, p in self.roots.items()]}
            case ["restoreflow", "folders", "count"]:
                found = len(list(scan(Path(query["path"]), SUFFIXES)))
                return {"count": found} if Path(query["path"]).is_dir() else {"status": 400}
            case ["restoreflow", "jobs"]:
                return {"jobs": [self.told(job) for job in reversed(self.jobs)]}
            case ["restoreflow", "jobs", number]:
                self.work(self.jobs[int(number) - 1])
                return {"job": self.told(self.jobs[int(number) - 1])}
            case ["restoreflow", "jobs", number, "photos"]:
                rows = sorted(self.photos[int(number)], key=lambda row: row["place"])
                fit = [row for row in rows if row["place"] > query["after"]]
                return {"photos": fit[: int(query["count"])]}
        return {"status": 404}

    def post(self, path: str, order: dict) -> dict:
        match path.strip("/").split("/"):
            case ["restoreflow", "jobs"]:
                job = {**order, "id": len(self.jobs) + 1, "state": "running", "reason": None}
                self.jobs.append(job)
                self.photos[job["id"]] = []
                self.scan(job)
                return {"job": self.told(job)}
            case ["restoreflow", "jobs", number, action]:
                job = self.jobs[int(number) - 1]
                was, job["state"] = job["state"], {"pause": "paused", "resume": "running"}[action]
                if action == "resume" and was != "running":
                    self.scan(job)
                if order.get("retry_failed"):
                    for row in self.photos[job["id"]]:
                        row["state"] = row["state"].replace("failed", "waiting")
                return {"job": self.told(job)}
        return {"status": 404}

    def drop(self, query: dict, data: bytes) -> dict:
        folder = self.roots["input"] / "restoreflow" / query["batch"]
        file = folder / query["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.read_bytes() != data:
            file = file.with_stem(f"{file.stem} (2)")
        file.write_bytes(data)
        self.most_open = max(self.most_open, len(self.made("drop")) - self.settled())
        return {"folder": str(folder), "path": file.relative_to(folder).as_posix()}

    # Jobs

    def settled(self) -> int:
        return sum(row["state"] != "waiting" for rows in self.photos.values() for row in rows)

    def scan(self, job: dict) -> None:
        rows = self.photos[job["id"]]
        known = {row["path"] for row in rows}
        for found in scan(Path(job["source"]), SUFFIXES):
            if found.path not in known and len(rows) < job.get("limit", 10**9):
                number = 1000 * job["id"] + len(rows)
                rows.append({"id": number, "path": found.path, "place": natural_key(found.path),
                             "size": found.size, "state": "waiting", "error": None,
                             "outputs": [], "sha256": [], "source_sha256": None})  # fmt: skip

    def work(self, job: dict) -> None:
        """Do a few photos."""
        if job["state"] == "running" and self.stops:
            job.update(state="stopped", reason=self.stops)
        waiting = [row for row in self.photos[job["id"]] if row["state"] == "waiting"]
        if job["state"] == "running" and not waiting:
            job["state"] = "finished"
        for row in waiting[: self.pace] if job["state"] == "running" else ():
            path = Path(row["path"])
            output = path.with_stem(f"{path.stem}_restored")
            if row["path"] in self.bad:
                row.update(state="failed", error="It is no photo.")
                continue
            if row["path"] in self.gone:
                row.update(state="gone")
                continue
            if row["path"] in self.notes:
                row.update(notes=self.notes[row["path"]])
            target = Path(job["target"]) / output
            target.parent.mkdir(parents=True, exist_ok=True)
            photo = (Path(job["source"]) / path).read_bytes()
            row.update(source_sha256=hashlib.sha256(photo).hexdigest())
            data = photo[::-1]
            target.write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            row.update(state="done", outputs=[output.as_posix()], sha256=[sha256])

    def told(self, job: dict) -> dict:
        states = [row["state"] for row in self.photos[job["id"]]]
        counts = {state: states.count(state) for state in {*states}}
        left = counts.get("waiting", 0)
        keys = ("id", "name", "state", "reason")
        total = len(states) - counts.get("gone", 0)
        return {**{key: job[key] for key in keys}, "counts": counts, "total": total,
                "left": left, "per_minute": 60.0, "left_out": self.left_out,
                "lost": self.lost}  # fmt: skip

    def output(self, number: int, index: int) -> Path:
        rows = [row for rows in self.photos.values() for row in rows if row["id"] == number]
        job = self.jobs[number // 1000 - 1]
        return Path(job["target"]) / rows[0]["outputs"][index]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, found: dict) -> None:
        status = found.pop("status", 200)
        body = json.dumps(found if status == 200 else {"error": "It is refused."}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def asked(self) -> tuple[str, dict]:
        parts = urlsplit(self.path)
        headers = {name.title(): value for name, value in self.headers.items()}
        self.server.play.asked.append((self.command, self.path, headers))
        query = {name: values[-1] for name, values in parse_qs(parts.query, True).items()}
        return parts.path, query

    def do_GET(self) -> None:
        play, (path, query) = self.server.play, self.asked()
        if path.startswith("/restoreflow") and not play.has_pack:
            return self.send_error(404)
        if not path.endswith("/output"):
            return self.answer(play.get(path, query))
        file = play.output(int(path.split("/")[3]), int(query["output"]))
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if play.cut else data)
        self.close_connection = bool(play.cut)
        play.cut = max(play.cut - 1, 0)
        return None

    def do_POST(self) -> None:
        play, (path, query) = self.server.play, self.asked()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if play.redirect:
            self.send_response(302)
            self.send_header("Location", play.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.endswith("/drop"):
            self.answer(play.drop(query, data))
        else:
            self.answer(play.post(path, json.loads(data)))


@contextlib.contextmanager
def playing(root: Path) -> Iterator[Play]:
    """A server with its folders below `root`."""
    try:
        with running(Handler, lambda url: Play(url, root)) as play:
            yield play
    finally:
        shutil.rmtree(root, ignore_errors=True)
