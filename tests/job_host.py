"""A host that plays its part in photo jobs: a queue, and nodes that turn a file's bytes round.

What a file begins with says what happens to it: `bad` cannot be read, `crash` fails the prompt,
`silent` ends without saving, `twice` saves two pictures, `model` wants a missing model.
"""

import hashlib
import json
import os
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path

from restoreflow.jobs import files
from restoreflow.jobs.encoding import Saving
from restoreflow.jobs.engine import Engine
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.naming import result_path
from restoreflow.jobs.overlap import Writer
from restoreflow.jobs.port import RefusedError, State


class FakePhotos:
    """Photo files whose size is stated by their length."""

    SUFFIXES = frozenset({".jpg", ".png"})

    @staticmethod
    def size(path: Path) -> tuple[int, int]:
        return len(path.read_bytes()), 1

    delete_leftovers = staticmethod(files.delete_leftovers)


def graph(group: int = 1, saves: int = 1, **first) -> dict:
    """A job's graph, in API form."""
    node = {"class_type": "RestoreFlowJobPhoto", "inputs": {"group": group, **first}}
    restore = {"model": ["3", 0], "image": ["1", 0], "steps": 5}
    made = {
        "1": node,
        "2": {"class_type": "Restore", "inputs": restore},
        "3": {"class_type": "Load", "inputs": {"weights": "x.safetensors"}},
    }
    for number in range(saves):
        inputs = {"image": ["2", 0], "photo": ["1", 2], "suffix": f"_{number}"}
        made[str(10 + number)] = {"class_type": "RestoreFlowSaveRestoredPhoto", "inputs": inputs}
    return made


class Foreign:
    """A prompt of the user's own."""

    def __init__(self) -> None:
        self.done = threading.Event()


class FakeHost:
    """The port, with the queue behind it and the nodes that it runs."""

    def __init__(self, pace: float = 0.0, refuses: str = "") -> None:
        self.pace, self.refuses = pace, refuses
        self.engine: Engine | None = None
        self.writer: Writer | None = None
        self.queue: deque = deque()
        self.running = None
        self.history: dict[str, State] = {}
        self.cancelled: set[str] = set()
        self.most, self.asked, self.order, self.attempts = 0, 0, [], []
        self.trouble: OSError | None = None
        self.held = threading.Event()
        self.held.set()
        self._more = threading.Condition()
        self._count = 0
        self._thread: threading.Thread | None = None

    def start(self, ledger_file: Path, **more) -> Engine:
        """An engine that is served by this host."""
        self.engine = Engine(Ledger(ledger_file), self, FakePhotos, **more)
        self.writer = Writer(self.engine)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self.engine

    def close(self) -> None:
        with self._more:
            self.queue.append(None)
            self._more.notify_all()
        self.held.set()
        self._thread.join()
        self.writer.close()
        self.engine.stop()
        self.engine.ledger.database.close()

    # The port

    def submit(self, graph: dict) -> str:
        if self.refuses:
            raise RefusedError(self.refuses)
        with self._more:
            self._count += 1
            prompt = f"p{self._count}"
            self.queue.append((prompt, graph))
            ours = [entry for entry in self.queue if not isinstance(entry, Foreign)]
            self.most = max(self.most, len(ours) + (self.running is not None))
            self._more.notify_all()
        return prompt

    def state(self, prompt: str) -> State:
        with self._more:
            self.asked += 1
            if prompt == self.running:
                return State("running")
            if any(isinstance(entry, tuple) and entry[0] == prompt for entry in self.queue):
                return State("waiting")
            return self.history.get(prompt, State("gone"))

    def cancel(self, prompt: str) -> None:
        with self._more:
            self.cancelled.add(prompt)
            kept = [e for e in self.queue if not (isinstance(e, tuple) and e[0] == prompt)]
            self.queue = deque(kept)

    def forget(self, prompt: str) -> None:
        self.history.pop(prompt, None)

    def others(self) -> int:
        return sum(isinstance(entry, Foreign) for entry in self.queue)

    # The queue

    def foreign(self) -> Foreign:
        with self._more:
            self.queue.append(prompt := Foreign())
            self._more.notify_all()
        return prompt

    def _run(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self.queue)
                entry = self.queue.popleft()
                self.running = entry[0] if isinstance(entry, tuple) else None
            if entry is None:
                return
            if isinstance(entry, Foreign):
                self.order.append("foreign")
                entry.done.set()
                continue
            try:
                end = self._execute(*entry)
            except Exception as error:
                end = State("failed", str(error))
            with self._more:
                self.history[entry[0]] = end
                self.running = None

    def _execute(self, prompt: str, graph: dict) -> State:
        inputs = graph["1"]["inputs"]
        rows = json.loads(inputs["rows"])
        assert self.engine.flights.are_for(inputs["job"], rows)
        photos = [self.engine.ledger.photo(row) for row in rows]
        self.order.append(photos[0].job)
        self.attempts.append([photo.path for photo in photos])
        job = self.engine.ledger.job(photos[0].job)
        saves = [key for key, node in graph.items() if "Save" in node["class_type"]]
        for photo in photos:
            file = job.source / photo.path
            data = file.read_bytes() if file.exists() else b"bad"
            if data.startswith(b"bad"):
                self.engine.failed(photo.id, "It is no photo.", final=True)
                return State("failed", "It is no photo.", "1")
            self.engine.opened(photo.id, hashlib.sha256(data).hexdigest(), len(data), 1)
        self.held.wait()
        time.sleep(self.pace)
        if prompt in self.cancelled:
            return State("gone")
        contents = [(photo, (job.source / photo.path).read_bytes()) for photo in photos]
        for _, data in contents:
            if data.startswith(b"crash"):
                return State("failed", "The network failed.", "2")
            if data.startswith(b"model"):
                return State("failed", "x.safetensors is missing.", "3")
        for photo, data in contents:
            for node in [] if data.startswith(b"silent") else saves:
                for _ in range(1 + data.startswith(b"twice")):
                    self._save(photo, node, graph[node]["inputs"], data)
        return State("done")

    def _save(self, photo, node: str, inputs: dict, data: bytes) -> None:
        job = self.engine.ledger.job(photo.job)
        how = Saving(format=inputs.get("format", "as the source"))

        def write(announce) -> None:
            file = result_path(self.engine.ledger, photo, job, node, how, inputs["suffix"])
            path = file.relative_to(job.target).as_posix()
            replace = inputs.get("replace", False)
            is_own = self.engine.own(photo.id, path, node, replace) or replace
            if self.trouble:
                raise self.trouble
            write_file(file, data[::-1], partial(announce, path), is_own)

        self.writer.put(photo.id, node, write)


def write_file(file: Path, data: bytes, announce, is_own: bool) -> None:
    """As the module `photos` writes: hidden, flushed, announced, named."""
    file.parent.mkdir(exist_ok=True)
    with files.temporary(file) as part:
        with open(part, "xb") as handle:
            handle.write(data)
            files.flush(handle)
        if file.exists() and not is_own:
            raise ValueError(f"{file} is a stranger's.")
        announce(hashlib.sha256(data).hexdigest(), [f"Told of {file.name}."])
        os.replace(part, file)


def wait_until(condition, seconds: float = 120) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
