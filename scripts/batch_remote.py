"""A batch on another machine's server: photos are sent and results fetched while it works.

The server keeps what it was sent below `restoreflow/` of its input and output folders. At most
WINDOW photos lie there that are not done yet, and it looks into the folder anew for each STEP.
"""

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlencode

import batch_folders
from batch_folders import PlaceError
from job_server import JobServer, Json, Order, RequestError, patiently
from restoreflow.jobs.outputs import sha256_of
from restoreflow.jobs.photos import delete_leftovers
from restoreflow.jobs.scan import Found, left_out, lost, natural_key

WINDOW, STEP = 32, 16
POLL = 1.0


class Remote:
    """A job whose folders are on another machine than the photos.

    Args:
        batch: names the server's folders.
        troubles: what was left out of the photos, each a path and a reason.
    """

    def __init__(
        self,
        server: JobServer,
        order: Order,
        batch: str,
        photos: list[Found],
        troubles: list[tuple[str, str]],
        *folders: Path,
    ) -> None:
        self.server, self.order, self.batch = server, order, batch
        self.source, self.target = folders
        self.left_out, self.lost = left_out(troubles), lost(troubles)
        self.total, self.waiting = len(photos), deque(photos)
        self._ours = {found.path for found in photos}  # the server may have more by now
        self.job: Json | None = None
        self.failures: list[tuple[str, str]] = []
        self.notes: list[tuple[str, list[str]]] = []
        self.left_there: list[str] = []
        self.results = 0
        # path -> size and, if it was read yet, sha256 of what was sent by an earlier run
        self._there: dict[str, tuple[int, str | None]] = {}
        self._sent = 0
        self._looked_at = 0  # so many were sent before the server last looked for them
        self._open: set[str] = set()  # sent, and neither done nor failed
        self._settled: set[str] = set()
        self._done: Counter[str] = Counter()  # settled with their results here, by state
        self._behind = ""  # all photos up to this place are settled

    def run(self, retry_failed: bool, show: Callable[..., None]) -> None:
        """Do what is not done yet, to the end or until the server's job stands still."""
        delete_leftovers(self.target)
        self._start(retry_failed)
        while True:
            has_sent = self._send_next()
            self.job = self.server.job(self.job["id"])
            self._collect()
            show(len(self._settled), self.total, len(self.failures), self.job["per_minute"])
            if self.job["state"] not in ("running", "finished"):
                return
            if self.job["state"] == "finished" and (len(self._open) >= STEP or not has_sent):
                if self._open:
                    self._look_again()
                elif not self.waiting:
                    return
            elif not has_sent:
                time.sleep(POLL)

    @property
    def counts(self) -> dict[str, int]:
        """This machine's photos by state."""
        left = self.total - len(self._settled)
        counts = {**self._done, "failed": len(self.failures), "waiting": left}
        return {state: count for state, count in counts.items() if count}

    def _look_again(self) -> None:
        """Let the server find what was sent since its job ended; what it does not find is lost."""
        if self._looked_at == self._sent:
            for path in list(self._open):
                self._fail(path, "the server does not take it for a photo")
        else:
            self._looked_at = self._sent
            if any(natural_key(path) <= self._behind for path in self._open):
                self._behind = ""  # photos that came between those of an earlier run
            self.job = self.server.resume(self.job["id"])

    def _start(self, retry_failed: bool) -> None:
        """Have the job, and know what the server has from an earlier run."""
        roots = self.server.get("/restoreflow/folders")["roots"]
        source, target = (below(roots, name, self.batch) for name in ("input", "output"))
        self.left_there = [source, target]
        self.job = self.server.find(self.order.name)
        if self.job is not None:
            self.job = self.server.resume(self.job["id"], retry_failed)
        else:
            while not (self._sent or self._count(source)):
                if not self._send_next():
                    raise RequestError(
                        f"the server takes none of the photos: {self.failures[0][1]}"
                    )
            self.job = self.server.create(self.order, source, target)
        count = self._count(source)
        while self.job["state"] == "running" and self.job["total"] < count:
            time.sleep(POLL / 4)  # it is still looking
            self.job = self.server.job(self.job["id"])
        photos = self.server.photos(self.job["id"])
        self._there = {p["path"]: (p["size"], p.get("source_sha256")) for p in photos}

    def _count(self, folder: str) -> int:
        """The photos in a folder of the server."""
        try:
            return self.server.get("/restoreflow/folders/count", path=folder)["count"]
        except RequestError:  # there is none yet
            return 0

    # There

    def _send_next(self) -> bool:
        """Send a photo if there is room; whether one was sent."""
        while self.waiting and len(self._open) < WINDOW:
            found = self.waiting.popleft()
            size, sha256 = self._there.get(found.path, (found.size, None))
            if size == found.size and sha256 is None:
                # Nothing of it is there, or nothing is known of it but the name: the server
                # compares what it has with what it is sent.
                self._send(found.path)
                return True
            if size == found.size and sha256_of(self.source / found.path) == sha256:
                self._count_as_sent(found.path)
            else:
                self._fail(found.path, self._changed)
        return False

    @property
    def _changed(self) -> str:
        return (
            "it has changed since it was sent: to send it anew, delete the job "
            f"{self.order.name} and the folder {self.batch} on the server"
        )

    def _send(self, path: str) -> None:
        question = urlencode({"batch": self.batch, "path": path})
        headers = {"Content-Type": "application/octet-stream"}
        try:
            with open(self.source / path, "rb") as file:
                headers["Content-Length"] = str(os.fstat(file.fileno()).st_size)
                answer = self.server.ask(f"/restoreflow/drop?{question}", file, headers)
        except RequestError as error:
            self._fail(path, str(error))
            return
        except OSError as error:
            self._fail(path, f"it cannot be read ({error.strerror})")
            return
        self._count_as_sent(path)
        if answer["path"] != path:
            other = f"the server has it as {answer['path']}, beside another of its name"
            self._fail(path, self._changed if path in self._there else other)

    def _count_as_sent(self, path: str) -> None:
        self._sent += 1
        if path not in self._settled:
            self._open.add(path)

    # And back

    def _collect(self) -> None:
        """Fetch the results of photos that are settled now and are known to be what was sent."""
        is_behind, unseen = True, set(self._open)
        photos = self.server.photos(self.job["id"], after=self._behind)
        while unseen and (photo := next(photos, None)):
            path = photo["path"]
            unseen.discard(path)
            if path in self._open and photo["state"] not in ("waiting", "queued"):
                self._settle(photo)
            is_behind = is_behind and (path in self._settled or path not in self._ours)
            if is_behind:
                self._behind = photo["place"]

    def _settle(self, photo: Json) -> None:
        path = photo["path"]
        if photo["state"] in ("failed", "gone"):
            self._fail(path, photo["error"] or "it was removed on the server")
            return
        try:
            for index, result in enumerate(zip(photo["outputs"], photo["sha256"], strict=True)):
                patiently(partial(self._fetch, photo["id"], index, *result))
                self.results += 1
        except (PlaceError, RequestError) as error:
            self._fail(path, str(error))
            return
        if notes := photo.get("notes"):
            self.notes.append((path, notes))
        self._done[photo["state"]] += 1
        self._leave(path)

    def _fetch(self, photo: int, index: int, relative: str, sha256: str) -> None:
        """One result; a file of its name and content is the one that an earlier run has fetched."""
        target = batch_folders.place(self.target, relative)
        if target.is_file() and sha256_of(target) == sha256:
            return
        question = f"/restoreflow/photos/{photo}/output?output={index}"
        with self.server.open(question) as answer, batch_folders.arriving(target) as file:
            arrived = hashlib.sha256()
            for piece in self.server.pieces(answer):
                arrived.update(piece)
                file.write(piece)
            if arrived.hexdigest() != sha256:
                raise RequestError(f"{relative} is not on the server any more as the job wrote it")

    def _fail(self, path: str, reason: str) -> None:
        self.failures.append((path, reason))
        self._leave(path)

    def _leave(self, path: str) -> None:
        self._settled.add(path)
        self._open.discard(path)


def below(roots: list[Json], name: str, batch: str) -> str:
    """A batch's folder in one of the server's own, which may run on another system."""
    root = next(root["path"] for root in roots if root["name"] == name)
    kind = PurePosixPath if root.startswith("/") else PureWindowsPath
    return str(kind(root, "restoreflow", batch))
