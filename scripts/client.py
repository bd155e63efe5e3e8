"""A small client of a running ComfyUI: ask, upload, run a prompt, fetch its pictures."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A proxy of the user's must not be asked for our own machine.
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PromptError(Exception):
    """ComfyUI refused a prompt or a node failed; the message says which node and why."""


class Client:
    """Speaks to one ComfyUI over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client_id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> bytes:
        """The body of a GET."""
        question = f"?{urllib.parse.urlencode(query)}" if query else ""
        with LOOPBACK.open(f"{self.url}{path}{question}", timeout=60) as answer:
            return answer.read()

    def json(self, path: str) -> Any:
        """A GET's body, as JSON."""
        return json.loads(self.get(path))

    def post(self, path: str, body: bytes, kind: str = "application/json") -> bytes:
        """The body of a POST's answer."""
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": kind})
        with LOOPBACK.open(request, timeout=60) as answer:
            return answer.read()

    def upload(self, photo: Path) -> str:
        """Put a picture into the host's input folder; the name that LoadImage knows it by."""
        boundary = uuid.uuid4().hex
        head = 'Content-Disposition: form-data; name="{}"'.format
        parts = (
            f"--{boundary}\r\n{head('overwrite')}\r\n\r\ntrue\r\n",
            f'--{boundary}\r\n{head("image")}; filename="{photo.name}"\r\n\r\n',
        )
        body = "".join(parts).encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self.post("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        return json.loads(answer)["name"]

    def submit(self, prompt: Mapping[str, Any]) -> str:
        """Queue a prompt in API format; its id."""
        body = json.dumps({"prompt": prompt, "client_id": self.client_id}).encode()
        try:
            return json.loads(self.post("/prompt", body))["prompt_id"]
        except urllib.error.HTTPError as error:
            raise PromptError(refusal(json.loads(error.read()))) from error

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What the host says of a prompt that has ended; None before that."""
        return self.json(f"/history/{prompt_id}").get(prompt_id)

    def wait(self, prompt_id: str, seconds: float = 300) -> dict[str, Any]:
        """A prompt's history once it has ended well; PromptError if it failed or takes too long."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if entry := self.history(prompt_id):
                if entry["status"]["status_str"] != "success":
                    raise PromptError(failure(entry))
                return entry
            time.sleep(0.05)
        raise PromptError(f"the prompt did not end within {seconds:.0f} s")

    def run(self, prompt: Mapping[str, Any], seconds: float = 300) -> dict[str, Any]:
        """Queue a prompt and wait for its end."""
        return self.wait(self.submit(prompt), seconds)

    def pictures(self, entry: Mapping[str, Any], node: str) -> list[bytes]:
        """The files of the pictures that a node of an ended prompt saved or previewed."""
        return [
            self.get("/view", **{key: image[key] for key in ("filename", "subfolder", "type")})
            for image in entry["outputs"].get(node, {}).get("images", [])
        ]


def refusal(answer: Mapping[str, Any]) -> str:
    """Why the host would not queue a prompt."""
    reasons = [
        f"{node['class_type']}: {error['message']} ({error['details']})"
        for node in answer.get("node_errors", {}).values()
        for error in node["errors"]
    ]
    return "; ".join(reasons) or answer["error"]["message"]


def failure(entry: Mapping[str, Any]) -> str:
    """Why a queued prompt failed."""
    for kind, detail in entry["status"]["messages"]:
        if kind == "execution_error":
            return f"{detail['node_type']}: {detail['exception_message'].strip()}"
        if kind == "execution_interrupted":
            return f"interrupted in {detail['node_type']}"
    return "it ended without saying why"
