"""Calls of the pack's routes as a browser makes them, or anything that pretends to be one."""

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import comfyui

JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}
SAVING = {
    **{"suffix": "_restored", "format": "as the source", "bits": "as the source", "quality": 0},
    **{"metadata": "keep", "colour": "source profile", "grey": "as it is"},
    **{"embed_workflow": True, "sidecar": True, "replace": False},
}
GRAPH = {
    "1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"folder": "", "index": 0, "group": 1}},
    "2": {
        "class_type": "RestoreFlowSaveRestoredPhoto",
        "inputs": {"image": ["1", 0], "photo": ["1", 2], **SAVING},
    },
}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Web:
    """A browser, or anything that pretends to be one, before a host and some folders."""

    host: comfyui.Host
    home: Path
    """Of the machine's user: `photos`, which jobs may read, and what is nobody's business."""
    locked_out: Answer | None = None
    """What the jobs' list was while another process had the jobs."""

    def ask(
        self, path: str, /, body=None, headers=None, method=None, root="/restoreflow", **query
    ) -> Answer:
        """Ask, by POST if there is a body."""
        line = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=60)
        question = f"?{urlencode(query, doseq=True)}" if query else ""
        method = method or ("GET" if body is None else "POST")
        line.request(method, f"{root}{path}{question}", body, headers or {})
        with line.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read())

    def post(self, path: str, /, headers=None, **body) -> Answer:
        """Ask for a change."""
        return self.ask(path, json.dumps(body), {**JSON, **(headers or {})})

    def start(self, name: str, /, headers=None, **more) -> Answer:
        """Start a job for `photos`, whose results go into an output folder of that name."""
        places = {"source": str(self.photos), "target": str(self.output / name)}
        return self.post("/jobs", headers, **{"graph": GRAPH, "name": name, **places, **more})

    def settled(self, job: int, state: str = "finished") -> dict:
        """A job, once it is in a state."""
        wait_until(lambda: self.ask(f"/jobs/{job}").json["job"]["state"] == state)
        return self.ask(f"/jobs/{job}").json["job"]

    @property
    def own(self) -> Path:
        """What the pack keeps in the host's user folder."""
        return self.host.folder / "user" / "__restoreflow"

    @property
    def photos(self) -> Path:
        return self.home / "photos"

    @property
    def input(self) -> Path:
        return self.host.folder / "input"

    @property
    def output(self) -> Path:
        return self.host.folder / "output"


def refused(answer: Answer, status: int, says: str = "") -> dict:
    """What a refusal tells: one sentence, and a command where one would help."""
    assert (answer.status, answer.headers.get_content_type()) == (status, "application/json")
    told = answer.json
    text = told["error"]
    assert says in text and "\n" not in text
    assert text.endswith(told.get("command", "."))
    assert set(told) <= {"error", "command"}
    return told


def wait_until(condition, seconds: float = 60) -> None:
    """Wait for something that happens in the host."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
