"""Run a workflow on a folder of photos, here or on a server. Run by `run.py batch`."""

import argparse
import contextlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import batch_folders
import batch_graph
import batch_options
import comfyui
import environment
import pack  # noqa: F401 - makes restoreflow importable
from batch_options import DONE, FAILED, PAUSED, STOPPED, WRONG
from batch_progress import Progress
from batch_remote import Remote
from batch_summary import Summary
from job_server import JobServer, Json, Order, RequestError, ServerError
from restoreflow.jobs import graph as graphs
from restoreflow.jobs.workflow import Prompt, WorkflowError
from setup_step import SetupError

POLL = 0.5
VANISHED = "it was removed from the folder before it was done"
TOLD = ("finished", "stopped")
"""How a job stands once a command has waited for its end and listed its failures."""


class Local:
    """A job whose folders the server reads and writes itself."""

    def __init__(self, server: JobServer, order: Order, source: Path, target: Path) -> None:
        self.server, self.order = server, order
        self.places = str(source), str(target)
        self.job: Json | None = None
        self.failures: list[tuple[str, str]] = []
        """The photos that failed or vanished, with their reasons, once the job stands still."""
        self.notes: list[tuple[str, list[str]]] = []
        """What could not be carried into results, by photo, once the job stands still."""
        self.left_there: list[str] = []
        """Folders that only the batch needed: none, as both are the user's own."""

    def run(self, retry_failed: bool, show: Callable[..., None]) -> None:
        """Do what is not done yet, to the end or until the server's job stands still."""
        found = self.server.find(self.order.name)
        told = self._told(found) if found else set()
        self.job = found or self.server.create(self.order, *self.places)
        if found:
            self.job = self.server.resume(found["id"], retry_failed)
        while True:
            job, failed = self.job, self.job["counts"].get("failed", 0)
            show(job["total"] - job["left"], job["total"], failed, job["per_minute"])
            if job["state"] != "running":
                break
            time.sleep(POLL)
            self.job = self.server.job(job["id"])
        for photo in self.server.photos(self.job["id"]):
            if photo["state"] == "failed":
                self.failures.append((photo["path"], photo["error"]))
            elif photo["state"] == "gone" and photo["id"] not in told:
                self.failures.append((photo["path"], VANISHED))
            if notes := photo.get("notes"):
                self.notes.append((photo["path"], notes))

    def _told(self, job: Json) -> set[int]:
        """The photos of which an earlier run has said that they failed or are gone."""
        if job["state"] not in TOLD:
            return set()
        photos = self.server.photos(job["id"])
        return {photo["id"] for photo in photos if photo["state"] in ("failed", "gone")}

    @property
    def left_out(self) -> str | None:
        """What is no photo of the batch though it lies in the folder, a sentence."""
        return self.job["left_out"]

    @property
    def lost(self) -> int:
        """How many things of it may be photos."""
        return self.job.get("lost", 0)

    @property
    def counts(self) -> dict[str, int]:
        """Photos by state."""
        return self.job["counts"]

    @property
    def results(self) -> int:
        """Files in the output folder."""
        done = sum(self.counts.get(state, 0) for state in ("done", "skipped"))
        return done * len(graphs.fed_saves(self.order.graph))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, tell how it ended, and exit with its code."""
    make = partial(argparse.ArgumentParser, "run.py batch")
    asked = batch_options.declare(make).parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a name may hold what their encoding does not
        stream.reconfigure(errors="backslashreplace")
    with contextlib.redirect_stdout(sys.stderr if asked.json == "-" else sys.stdout):
        start = time.monotonic()
        summary = run(asked)
        summary.seconds = round(time.monotonic() - start, 3)
        summary.tell(asked.target)
    if asked.json is not None:
        summary.write(asked.json)
    sys.exit(summary.exit_code)


def run(asked: argparse.Namespace) -> Summary:
    """The whole batch."""
    try:
        saved = batch_graph.read(asked.workflow)
        folders = batch_folders.prepare(asked.source, asked.target)
        with serving(asked.server) as server:
            graph = batch_graph.build(saved, asked.assignments, server.node_definitions())
            return follow(work(server, graph, saved, asked, *folders), asked.retry_failed)
    except (WorkflowError, graphs.GraphError, batch_folders.PlaceError, RequestError) as error:
        return Summary(WRONG, str(error))
    except (SetupError, ServerError, OSError) as error:
        return Summary(STOPPED, str(error))
    except KeyboardInterrupt:
        return Summary(PAUSED)


@contextlib.contextmanager
def serving(url: str | None) -> Iterator[JobServer]:
    """The server of that address, or one of our own, whose jobs stay from one run to the next."""
    if url is not None:
        yield JobServer(url)
        return
    folder = environment.home() / "batch"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+b") as lock:
        if not environment.try_lock(lock.fileno()):
            raise SetupError(f"another batch runs in {folder}: wait for its end")
        installation = comfyui.find()
        models = environment.home() / "serve" / "models"  # no weights are fetched twice
        comfyui.share(models, folder / "models")
        print("Starting ComfyUI ...", flush=True)
        with comfyui.Host(installation, folder, offline=False) as host:
            yield JobServer(host.url, f"its log is {host.log}, its models lie in {models}")


def work(
    server: JobServer,
    graph: Prompt,
    saved: Json,
    asked: argparse.Namespace,
    source: Path,
    target: Path,
) -> Local | Remote:
    """The job, named so that the same command finds it again."""
    is_ours = server.authorise()
    whose = None if is_ours else platform.node()  # other machines may have folders of equal names
    like = [graphs.graph_hash(graph), graphs.group_of(graph), str(source), str(target), whose]
    tag = graphs.digest([*like, asked.limit, asked.retries])[:12]
    is_as_saved = "nodes" in saved and not asked.assignments
    more: dict[str, Any] = {"workflow": saved} if is_as_saved else {}
    if asked.retries is not None:
        more["retries"] = asked.retries
    if asked.limit is not None and is_ours:
        more["limit"] = asked.limit
    order = Order(f"{source.name[:100] or 'photos'} (batch {tag})", graph, more)
    if is_ours:
        return Local(server, order, source, target)
    print("The server sees no folder of this machine: photos are sent to it.", flush=True)
    if any(graph[key]["inputs"].get("sidecar") for key in graphs.fed_saves(graph)):
        kept = f"restoreflow/batch-{tag} of its output folder"
        print(f"Only photos come back: their sidecars stay there, in {kept}.", flush=True)
    troubles: list[tuple[str, str]] = []
    found = batch_folders.photos(source, target, asked.limit, lambda *one: troubles.append(one))
    return Remote(server, order, f"batch-{tag}", list(found), troubles, source, target)


def follow(job: Local | Remote, retry_failed: bool) -> Summary:
    """Run a job to its end, or pause it where it cannot go on."""
    reason, code = None, None
    try:
        announce(job.server.jobs(), job.order.name)
        with Progress() as progress:
            job.run(retry_failed, progress.show)
    except KeyboardInterrupt:
        code = PAUSED
    except (ServerError, RequestError, OSError) as error:
        if job.job is None:
            raise
        reason, code = str(error), STOPPED
    if job.job is None:
        return Summary(code)
    if code is not None:
        with contextlib.suppress(ServerError, RequestError):
            job.job = job.server.pause(job.job["id"])
    return summarise(job, reason, code)


def announce(jobs: Sequence[Json], name: str) -> None:
    """Say what the server is at already, for the wait may be long."""
    running = [job["name"] for job in jobs if job["state"] == "running"]
    if name in running:
        print("The server works on this job already: this command waits for its end.", flush=True)
        print("Photos added meanwhile, and --retry-failed, may need another run.", flush=True)
    elif running:
        print("The server works on other photo jobs, too: they take turns.", flush=True)


def summarise(job: Local | Remote, reason: str | None, code: int | None) -> Summary:
    """What there is to say of a job that has ended, or that was left with a reason and code."""
    state = job.job["state"]
    if code is None and state != "finished":
        reason = job.job["reason"] or f"the job was {state} by somebody else"
        hint = job.server.hint
        reason, code = f"{reason} ({hint})" if hint else reason, STOPPED
    if code is None:
        reason, code = job.left_out, FAILED if job.failures or job.lost else DONE
    number, results = job.job["id"], job.results
    more = {"failures": job.failures, "notes": job.notes, "left_there": job.left_there}
    return Summary(code, reason, number, state, job.counts, results, **more)


if __name__ == "__main__":
    main()
