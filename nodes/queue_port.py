"""The host's queue, as the photo jobs ask for it.

Prompts go in and are cancelled over the host's own routes, which every version has alike. Where a
prompt is, the queue object itself says: it is asked several times a photo.
"""

import json
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from comfy.cli_args import args
from server import PromptServer

from ..jobs.port import RefusedError, State
from ..jobs.workflow import Prompt

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
SECONDS = 60
"""For one answer of the host, whose event loop other packs may hold up."""


class HostQueue:
    """The port of the jobs' engine; called by its one thread."""

    def __init__(self) -> None:
        self._own: set[str] = set()

    def submit(self, graph: Prompt) -> str:
        """Put a prompt at the queue's end -> its id.

        Raises:
            RefusedError: the host rejects the graph, or a part of it.
        """
        body = {"prompt": graph, "prompt_id": str(uuid.uuid4())}
        try:
            answer = json.loads(_post("/prompt", body))
        except urllib.error.HTTPError as error:
            raise RefusedError(_refusal(error.read())) from error
        prompt = answer["prompt_id"]
        self._own.add(prompt)
        if answer.get("node_errors"):  # it would run the other outputs, and leave that one out
            self.cancel(prompt)
            self.forget(prompt)
            raise RefusedError(_refusal(json.dumps(answer)))
        return prompt

    def state(self, prompt: str) -> State:
        """Where a prompt is."""
        queue = PromptServer.instance.prompt_queue
        with queue.mutex:
            if any(item[1] == prompt for item in queue.currently_running.values()):
                return State("running")
            if any(item[1] == prompt for item in queue.queue):
                return State("waiting")
            entry = queue.history.get(prompt, {})
            status = entry.get("status") or {}
        if not status:
            return State("gone")
        if status["status_str"] == "success":
            return State("done")
        failures = [told for kind, told in status["messages"] if kind == "execution_error"]
        if not failures:
            return State("gone")  # interrupted
        told = failures[0]
        return State("failed", _sentence(told), str(told["node_id"]))

    def cancel(self, prompt: str) -> None:
        """Take a prompt out of the queue, or interrupt it."""
        _post("/queue", {"delete": [prompt]})
        _post("/interrupt", {"prompt_id": prompt})

    def forget(self, prompt: str) -> None:
        """Delete an ended prompt from the host's history."""
        self._own.discard(prompt)
        PromptServer.instance.prompt_queue.delete_history_item(prompt)

    def others(self) -> int:
        """How many prompts wait that are not the jobs'."""
        queue = PromptServer.instance.prompt_queue
        with queue.mutex:
            return sum(item[1] not in self._own for item in queue.queue)


def _post(path: str, body: Mapping[str, Any]) -> bytes:
    server = PromptServer.instance
    address = EVERYWHERE.get(server.address) or server.address
    address = f"[{address}]" if ":" in address.strip("[]") and "[" not in address else address
    is_secure = bool(args.tls_keyfile and args.tls_certfile)
    request = urllib.request.Request(
        f"{'https' if is_secure else 'http'}://{address}:{server.port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with _opener().open(request, timeout=SECONDS) as answer:
        return answer.read()


@lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    """For this process's own address: past any proxy, with whatever certificate it shows."""
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),
    )


def _refusal(answer: bytes | str) -> str:
    """Why the host would not run a graph."""
    try:
        told = json.loads(answer)
        reasons = [
            f"{node['class_type']}: {error['message']} ({error['details']})"
            for node in (told.get("node_errors") or {}).values()
            for error in node["errors"]
        ]
        return "; ".join(reasons) or told["error"]["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "it gives no reason."


def _sentence(told: Mapping[str, Any]) -> str:
    """Why a node failed."""
    text = " ".join(str(told.get("exception_message", "")).split()) or told["exception_type"]
    return f"{told['node_type']}: {text}"
