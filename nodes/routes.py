"""The pack's routes, below /restoreflow: folders, photo jobs, and what became of the photos.

The tab and the command line are clients of these; neither keeps anything of its own.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from server import PromptServer

from ..jobs import graph as graphs
from ..jobs import progress, report, rows, token
from ..jobs.archive import archive
from ..jobs.contact_sheet import contact_sheet
from ..jobs.database import LedgerError
from ..jobs.engine import Engine
from ..jobs.outputs import is_unchanged
from ..jobs.pictures import inside, picture
from ..jobs.workflow import Prompt
from . import browsing, calls, jobs
from .calls import AS_IT_IS, Call, RefusedError, Stream, attachment

LATEST = 12
"""Photos that are told with a job."""
PREVIEWS = ThreadPoolExecutor(2, "photo previews")
"""Few at a time, because a huge photo takes half a gigabyte to be looked at."""
STATES = (rows.WAITING, rows.QUEUED, rows.DONE, rows.FAILED, rows.SKIPPED, rows.GONE)
ALONE = {**AS_IT_IS, "Content-Security-Policy": "sandbox allow-scripts"}
"""For a page that has nothing to do with the host's other pages."""

log = logging.getLogger(__name__)


def register() -> None:
    """Add the routes to the host, if there is one."""
    if (server := getattr(PromptServer, "instance", None)) is None:
        return
    for (method, path), answer in ANSWERS.items():
        pool = PREVIEWS if answer in (before, after) else None
        server.routes.route(method, f"/restoreflow{path}")(calls.handler(answer, pool))
    server.routes.post("/restoreflow/drop")(calls.guarded(browsing.drop))
    server.app.on_startup.append(_take_up)


async def _take_up(_: web.Application) -> None:
    """Let the jobs that may do so go on, now that the host runs; it waits for none of them."""
    engine = jobs.engine()  # made by this one thread only
    if engine.ledger.database.file.exists():
        asyncio.get_running_loop().run_in_executor(None, _opened, engine)


def _opened(engine: Engine) -> None:
    try:
        engine.open()
    except Exception:  # whoever asks for the jobs is told; the log says it to all others
        log.warning("RestoreFlow: the photo jobs are not taken up", exc_info=True)


# Jobs


def all_jobs(call: Call) -> dict:
    engine = jobs.engine()
    engine.open()
    return {"jobs": [_shown(job) for job in reversed(engine.jobs())]}


def create(call: Call) -> web.Response:
    graph = call.field("graph", dict)
    if graph is None:
        raise RefusedError(400, "A job needs a graph in API form.")
    source = browsing.there(call, call.field("source", str))
    target = call.folder(call.field("target", str), write=True)
    if target.exists() and not target.is_dir():
        raise RefusedError(400, f"{target} is a file; choose a folder for the results.")
    _check_settings(graph)
    limit = call.field("limit", int)
    settings = rows.Settings(
        retries=_within("retries", call.field("retries", int, rows.Settings.retries), 0, 10),
        limit=limit if limit is None else _within("limit", limit, 1, 10**9),
        auto_resume=call.field("auto_resume", bool, False),
    )
    name = (call.field("name", str) or source.name or str(source))[:200]
    workflow = call.field("workflow", dict)
    job = jobs.engine().create(name, graph, source, target, settings, workflow)
    return web.json_response({"job": _shown(job)}, status=201)


def _check_settings(graph: Prompt) -> None:
    """Stop settings of which each photo would fail later; the host looks at them only then.

    Raises:
        RefusedError: a node has such.
    """
    for node in (node for node in graph.values() if isinstance(node, dict)):
        kind, inputs = node.get("class_type"), node.get("inputs", {})
        if not isinstance(inputs, dict):
            raise RefusedError(400, f"The inputs of a node must be an object; got {inputs!r:.80}.")
        if kind == graphs.JOB_PHOTO and type(group := inputs.get("group")) is int:
            _within("group", group, 1, graphs.LARGEST_GROUP)
        if kind == graphs.SAVE and isinstance(suffix := inputs.get("suffix"), str):
            browsing.names(f"photo{suffix}.png", 1)


def one_job(call: Call) -> dict:
    job, ledger = _job(call), jobs.engine().ledger
    latest = progress.latest(ledger, job.id, LATEST)
    return {"job": _shown(job), "latest": [report.photo_facts(ledger, photo) for photo in latest]}


def photos_of(call: Call) -> dict:
    states = call.request.query.getall("state", [])
    if unknown := set(states) - set(STATES):
        raise RefusedError(400, f"{', '.join(sorted(unknown))} is no state of a photo.")
    after, count = call.request.query.get("after", ""), call.number("count", 100, 1, 1000)
    job, ledger = _job(call), jobs.engine().ledger
    found = progress.page(ledger, job.id, states, after, count)
    return {"photos": [report.photo_facts(ledger, photo) for photo in found]}


def pause(call: Call) -> dict:
    job = _job(call)
    jobs.engine().pause(job.id, now=call.field("now", bool, False))
    return {"job": _shown(_job(call))}


def resume(call: Call) -> dict:
    job = _job(call)
    call.folder(str(job.source))
    call.folder(str(job.target), write=True)
    jobs.engine().resume(job.id, forgive=call.field("retry_failed", bool, False))
    return {"job": _shown(_job(call))}


def cancel(call: Call) -> dict:
    jobs.engine().cancel(_job(call).id)
    return {"job": _shown(_job(call))}


def delete(call: Call) -> dict:
    jobs.engine().delete(_job(call).id)
    return {}


# What became of the photos


def before(call: Call) -> web.Response:
    photo, job = _photo(call)
    return _picture(call, job.source, photo.path)


def after(call: Call) -> web.Response:
    return _picture(call, *_result(call))


def output(call: Call) -> web.FileResponse:
    file = _file(call, *_result(call))
    return web.FileResponse(file, headers=attachment(file.name))


def result_zip(call: Call) -> Stream:
    job = _job(call)
    call.folder(str(job.target))
    parts = archive(jobs.engine().ledger, job)
    return Stream(parts, "application/zip", attachment(f"{job.name}.zip"))


def report_csv(call: Call) -> Stream:
    job = _job(call)
    parts = report.csv_report(jobs.engine().ledger, job)
    return Stream(parts, "text/csv; charset=utf-8; header=present", attachment(f"{job.name}.csv"))


def report_html(call: Call) -> Stream:
    job = _job(call)
    try:
        shown = bool(call.folder(str(job.source)) and call.folder(str(job.target)))
    except RefusedError:
        shown = False  # what the ledger says may be told all the same
    return Stream(
        contact_sheet(jobs.engine().ledger, job, shown), "text/html; charset=utf-8", ALONE
    )


def machine_token(call: Call) -> dict:
    if not calls.is_local(call.request):
        raise RefusedError(403, "The token is for commands on the machine itself.")
    return {"file": str(token.token_file(jobs.user_folder()))}


# Out of the ledger


def _job(call: Call) -> rows.Job:
    jobs.engine().open()
    return _known(jobs.engine().job, call)


def _photo(call: Call) -> tuple[rows.Photo, rows.Job]:
    jobs.engine().open()
    photo = _known(jobs.engine().ledger.photo, call)
    return photo, jobs.engine().job(photo.job)


def _known(find: Any, call: Call) -> Any:
    try:
        return find(int(call.request.match_info["id"]))
    except LedgerError as error:
        raise RefusedError(404, str(error)) from error


def _result(call: Call) -> tuple[Path, str]:
    """The job's output folder, and the path below it of the result that is asked for.

    Raises:
        RefusedError: there is none, or something else has its name now.
    """
    photo, job = _photo(call)
    call.folder(str(job.target))
    outputs = report.row(jobs.engine().ledger, photo).outputs
    number = call.number("output", 0, 0, 10**6)
    if number >= len(outputs):
        count = f"{len(outputs)} result{'s' * (len(outputs) != 1)}"
        raise RefusedError(404, f"{photo.path} has {count}.")
    found = outputs[number]
    if not is_unchanged(job.target, found):
        raise RefusedError(404, f"{found.path} is not in its folder any more as the job wrote it.")
    return job.target, found.path


def _file(call: Call, folder: Path, path: str) -> Path:
    call.folder(str(folder))
    if (file := inside(folder, path)) is None:
        raise RefusedError(404, f"{path} is not in its folder any more.")
    return file


def _picture(call: Call, folder: Path, path: str) -> web.Response:
    side = call.number("side", 1024, 16, 2048)
    data, kind = picture(_file(call, folder, path), side)
    headers = {**AS_IT_IS, "Cache-Control": "private, max-age=60"}
    return web.Response(body=data, content_type=kind, headers=headers)


def _shown(job: rows.Job) -> dict[str, Any]:
    return report.job_facts(jobs.engine().ledger, job)


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise RefusedError(400, f"{name} must be from {least} to {most}; got {value}.")
    return value


ID = r"{id:\d{1,18}}"
ANSWERS = {
    ("GET", "/folders"): browsing.roots,
    ("GET", "/folders/inside"): browsing.inside,
    ("GET", "/folders/count"): browsing.total,
    ("GET", "/jobs"): all_jobs,
    ("POST", "/jobs"): create,
    ("GET", f"/jobs/{ID}"): one_job,
    ("GET", f"/jobs/{ID}/photos"): photos_of,
    ("POST", f"/jobs/{ID}/pause"): pause,
    ("POST", f"/jobs/{ID}/resume"): resume,
    ("POST", f"/jobs/{ID}/cancel"): cancel,
    ("POST", f"/jobs/{ID}/delete"): delete,
    ("GET", f"/photos/{ID}/before"): before,
    ("GET", f"/photos/{ID}/after"): after,
    ("GET", f"/photos/{ID}/output"): output,
    ("GET", f"/jobs/{ID}/result.zip"): result_zip,
    ("GET", f"/jobs/{ID}/report.csv"): report_csv,
    ("GET", f"/jobs/{ID}/report.html"): report_html,
    ("GET", "/token"): machine_token,
}
