"""Photo jobs on a real host: what they cost, and what they come through.

python scripts/bench_jobs.py [folder|kills|idle|engine ...], with the environment's Python
(`run.py` makes it); without a name, all of them. Sizes are set by --photos, --kills and --work.

folder  many small photos through a graph that does nothing: memory, queue, photos a minute
kills   300 photos, one in twenty of them bad, while the host is killed at random moments
idle    a graph of one second a photo: how much of the time the network waits
engine  scan, ledger and scheduling alone, without host and files: milliseconds a photo
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import pack  # noqa: F401 - makes restoreflow importable
from job_trials import (
    bad_files,
    busy_seconds,
    contents,
    fill,
    graph,
    hosted,
    killed,
    spoil,
    watched,
)
from restoreflow.jobs import photos
from restoreflow.jobs.engine import Engine
from restoreflow.jobs.ledger import Ledger
from restoreflow.jobs.port import State
from restoreflow.jobs.progress import progress

TRIALS = ("folder", "kills", "idle", "engine")


def folder_trial(work: Path, count: int) -> str:
    """Many small photos through a graph that does nothing."""
    fill(work / "input" / "many", count)
    with hosted(work) as jobs:
        begun = time.monotonic()
        number = jobs.start(graph(), work / "input" / "many", work / "output" / "many")
        with watched(jobs, number) as watch:
            job = jobs.wait(number, 7200)
        seconds = time.monotonic() - begun
    assert job["counts"] == {"done": count}, job
    return (
        f"{count} photos of 64 px in {seconds:.0f} s ({1000 * seconds / count:.1f} ms each), at "
        f"most {watch.most_queued} prompts in the queue; memory of the host in the last tenth / "
        f"second tenth: {watch.growth():.3f}"
    )


def kills_trial(work: Path, kills: int, count: int = 300) -> str:
    """A job whose host is killed, beside one that is left alone."""
    source = work / "input" / "some"
    fill(source, count - count // 20)
    bad = spoil(source, count // 20)
    made = graph(0.02)
    with killed(work, source, work / "output" / "killed", made, kills) as jobs:
        number = jobs.only()["id"]
        done = [photo["path"] for photo in jobs.photos(number, "done")]
        failed = {photo["path"]: photo["error"] for photo in jobs.photos(number, "failed")}
        jobs.wait(jobs.start(made, source, work / "output" / "calm"))
    found = contents(work / "output" / "killed")
    assert found == contents(work / "output" / "calm"), "the outputs differ"
    assert len(done) == len(set(done)) == len(found) == count - len(bad), len(done)
    assert set(failed) == bad and all(failed.values()), failed
    return (
        f"{count} photos with {len(bad)} bad ones of {len(bad_files())} kinds, {kills} kills: "
        f"{len(done)} outputs, byte-identical to an undisturbed run; every bad one has its reason"
    )


def idle_trial(work: Path, count: int, side: int = 1024) -> str:
    """How long the network waits for photos to be read and written."""
    fill(work / "input" / "large", count, side)
    with hosted(work) as jobs:
        jobs.wait(jobs.start(graph(1.0), work / "input" / "large", work / "output" / "large"), 7200)
    busy, span = busy_seconds(work)
    return f"{count} photos of {side} px at 1 s each: the network idles {1 - busy / span:.2%}"


class NoHost:
    """A host that has done its work at once, and tells the engine all that nodes tell."""

    def __init__(self, target: Path) -> None:
        self.engine: Engine | None = None
        self.target = target

    def submit(self, prompt: dict) -> str:
        rows = prompt["1"]["inputs"]["rows"]
        for row in json.loads(rows):
            sha256, name = f"{row:064}", f"{row}.jpg"
            self.engine.opened(row, sha256, 64, 64)
            self.engine.own(row, name, "3")
            self.engine.announce(row, "3", name, sha256)
            (self.target / name).touch()
            self.engine.saved(row, "3")
        return rows

    def state(self, prompt: str) -> State:
        return State("done")

    def cancel(self, prompt: str) -> None: ...

    def forget(self, prompt: str) -> None: ...

    def others(self) -> int:
        return 0


def engine_trial(work: Path, count: int) -> str:
    """Scan, ledger and scheduling, with nothing to decode, to run or to write."""
    source = work / "none"
    for number in range(count):
        place = source / f"{number // 100:03}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    port = NoHost(work / "out")
    port.target.mkdir()
    port.engine = engine = Engine(Ledger(work / "jobs.sqlite"), port, photos)
    begun = time.perf_counter()
    job = engine.create("trial", graph(), source, port.target)
    while engine.ledger.job(job.id).state == "running":
        time.sleep(0.01)
    seconds = time.perf_counter() - begun
    engine.stop()
    counts = progress(engine.ledger, job.id).counts
    assert counts == {"done": count}, counts
    return f"{count} photos: {1000 * seconds / count:.2f} ms each for scan, ledger and scheduling"


def main() -> None:
    """Run the trials that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("trial", nargs="*", choices=[*TRIALS, []], help="all if none is named")
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--work", type=Path, help="a folder to work in; a temporary one if none")
    chosen = parser.parse_args()
    for name in chosen.trial or TRIALS:
        work = chosen.work or Path(tempfile.mkdtemp(prefix="restoreflow-jobs-"))
        sizes = {"kills": chosen.kills, "idle": 60}
        print(f"{name}: {globals()[name + '_trial'](work / name, sizes.get(name, chosen.photos))}")
        if not chosen.work:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
