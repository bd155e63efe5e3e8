"""Fetching known weights from a server that plays the protocol, and misbehaves."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import hub_server
import pytest
import requests
from hub_server import COMMIT, served, sha256
from huggingface_hub import constants
from restoreflow.models import checkpoint, download, transfer
from restoreflow.models.hub import Hub, Known, Release
from restoreflow.models.transfer import FetchError, Job

DATA = bytes(range(256)) * 4096
NAME = "tiny.safetensors"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Nothing of this machine's, and no waiting."""
    hub_server.alone(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(download, "_pause", lambda job, seconds: job.check())


@pytest.fixture
def play(monkeypatch):
    with served(DATA) as play:
        hub_server.as_hub(monkeypatch, play.url)
        yield play


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "models" / "restoreflow"


def known(source: Hub | Release | None = None, **changes) -> Known:
    fields = {"size": len(DATA), "sha256": None, "licence": "MIT", "holds": "nothing", **changes}
    return Known(NAME, source or Hub("someone/something", "model.safetensors"), **fields)


def record(folder: Path) -> dict:
    return json.loads((folder / f"{NAME}.lock.json").read_text())


def left(folder: Path) -> list[str]:
    """What lies in the folder, but for the lock that a failed fetch leaves."""
    return sorted(path.name for path in folder.iterdir() if path.name != f"{NAME}.part.lock")


def is_one_sentence(error) -> bool:
    text = str(error.value)
    return "\n" not in text and text.endswith(".")


# Fetched


def test_fetched_verified_and_remembered(play, folder):
    seen, told = [], []
    path = download.fetch(
        known(), folder, progress=lambda done, total: seen.append((done, total)), tell=told.append
    )
    assert path == folder / NAME and path.read_bytes() == DATA
    assert left(folder) == [NAME, f"{NAME}.lock.json"]
    assert record(folder)["sha256"] == sha256(DATA) and record(folder)["revision"] == COMMIT
    assert seen[-1] == (len(DATA), len(DATA)) and seen == sorted(seen)
    assert "MIT" in told[0] and str(folder) in told[0] and "as stated" in told[-1]
    assert f"/resolve/{COMMIT}/" in play.asked[-1][1]
    assert {headers["Authorization"] for _, _, headers in play.asked} == {"Bearer hf_secret"}
    asked = len(play.asked)
    assert download.fetch(known(), folder) == path and len(play.asked) == asked


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_cut_is_resumed_at_once(play, folder, tells_length):
    play.tells_length = tells_length
    play.cuts = [300_000, 200_000]
    assert download.fetch(known(), folder).read_bytes() == DATA
    starts = [headers.get("Range") for headers in play.gets()]
    assert starts[0] is None and len(starts) == 3
    assert all(text.startswith("bytes=") and text != "bytes=0-" for text in starts[1:])


def test_cuts_after_few_bytes_lead_to_the_end(play, folder):
    play.cuts = [50_000] * 6
    assert download.fetch(known(), folder).read_bytes() == DATA
    starts = [int(headers["Range"][len("bytes=") : -1]) for headers in play.gets()[1:]]
    assert len(starts) == 6 and starts == sorted({*starts}) and starts[0] > 0


def test_a_connection_that_is_cut_without_end_is_given_up(play, folder):
    play.cuts = [300_000] + [0] * 9
    with pytest.raises(FetchError, match="cut off after .* run again") as error:
        download.fetch(known(), folder)
    assert is_one_sentence(error) and len(play.gets()) == 1 + download.ATTEMPTS
    play.cuts = []
    assert download.fetch(known(), folder).read_bytes() == DATA
    assert "Range" in play.gets()[-1]


def test_a_server_that_stalls_is_given_up_and_resumed_later(play, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    play.pace = 0.6
    begun = time.monotonic()
    with pytest.raises(FetchError, match="cut off|cannot be reached") as error:
        download.fetch(known(), folder)
    assert is_one_sentence(error) and time.monotonic() - begun < 5
    play.pace = 0
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 10)
    assert download.fetch(known(), folder).read_bytes() == DATA


class CancelledError(Exception):
    """As the host's interruption."""


def cancel_after(folder: Path, size: int):
    def check() -> None:
        part = folder / f"{NAME}.part"
        if part.is_file() and part.stat().st_size >= size:
            raise CancelledError

    return check


def test_cancelled_then_resumed(play, folder):
    with pytest.raises(CancelledError):
        download.fetch(known(), folder, check=cancel_after(folder, 300_000))
    assert left(folder) == [f"{NAME}.lock.json", f"{NAME}.part"]
    assert not any(name.endswith(checkpoint.EXTENSIONS) for name in os.listdir(folder))
    kept = (folder / f"{NAME}.part").stat().st_size
    assert download.fetch(known(), folder).read_bytes() == DATA
    assert play.gets()[-1]["Range"] == f"bytes={kept}-"
    assert play.gets()[-1]["If-Range"] == f'"bytes-{sha256(DATA)[:8]}"'


def test_a_trickle_can_be_cancelled_and_what_came_is_kept(play, folder):
    play.piece, play.pace = 2_000, 0.2
    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 0.5:
            raise CancelledError

    with pytest.raises(CancelledError):
        download.fetch(known(), folder, check=check)
    assert time.monotonic() - begun < 2.5 and (folder / f"{NAME}.part").stat().st_size > 0


@pytest.mark.parametrize("source", ["hub", "github"])
def test_a_file_that_changed_starts_anew(play, folder, source):
    entry = known(Release(play.url + "/release/x")) if source == "github" else known()
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    play.data = DATA[::-1]
    assert download.fetch(entry, folder).read_bytes() == DATA[::-1]
    assert record(folder)["sha256"] == sha256(DATA[::-1])
    assert ("Range" in play.gets()[-1]) == (source == "github")  # the Hub said so beforehand


@pytest.mark.parametrize("source", ["hub", "github"])
def test_without_a_strong_etag_only_a_stated_digest_lets_it_resume(play, folder, source):
    play.etag = 'W/"weak"'
    entry = known(Release(play.url + "/release/x")) if source == "github" else known()
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    assert download.fetch(entry, folder).read_bytes() == DATA
    assert ("Range" in play.gets()[-1]) == (source == "hub")
    assert "If-Range" not in play.gets()[-1]


def test_a_part_that_was_complete_is_verified_without_another_byte(play, folder, monkeypatch):
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(download, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        download.fetch(known(), folder)
    assert download.fetch(known(), folder).read_bytes() == DATA
    assert len(play.gets()) == 1


def test_a_redirect_to_another_host_never_carries_the_token(play, folder):
    with served(DATA) as other:
        play.redirect = other.url
        assert download.fetch(known(), folder).read_bytes() == DATA
        assert other.gets() and not any("Authorization" in headers for headers in other.gets())
        assert all("Authorization" in headers for headers in play.gets())


def test_github_never_sees_the_token_and_its_digest_is_remembered(play, folder):
    entry, told = known(Release(play.url + "/release/x")), []
    path = download.fetch(entry, folder, tell=told.append)
    assert not any("Authorization" in headers for _, _, headers in play.asked)
    assert "no sha256 is stated" in told[-1] and record(folder)["sha256"] == sha256(DATA)
    path.unlink()
    play.data = DATA[::-1]
    with pytest.raises(FetchError, match="another file .* than the one fetched before") as error:
        download.fetch(entry, folder)
    assert is_one_sentence(error) and left(folder) == [f"{NAME}.lock.json"]
    (folder / f"{NAME}.lock.json").unlink()
    assert download.fetch(entry, folder).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("estimate", [len(DATA) // 2, 2 * len(DATA)])
def test_an_estimated_size_is_for_the_user_only(play, folder, estimate):
    entry, seen, told = known(Release(play.url + "/x"), size=estimate, exact=False), [], []
    path = download.fetch(
        entry, folder, progress=lambda done, total: seen.append((done, total)), tell=told.append
    )
    assert path.read_bytes() == DATA and seen[-1] == (len(DATA), len(DATA))
    assert record(folder)["size"] == len(DATA) and "(about " in told[0]


def test_an_estimated_size_and_a_cut_then_another_file(play, folder):
    entry = known(Release(play.url + "/x"), size=7, exact=False)
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    play.cuts = [200_000]
    assert download.fetch(entry, folder).read_bytes() == DATA
    assert all("Range" in headers for headers in play.gets()[1:])
    (folder / NAME).unlink()
    (folder / f"{NAME}.lock.json").unlink()
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    play.data = DATA[::-1] + b"longer"
    assert download.fetch(entry, folder).read_bytes() == DATA[::-1] + b"longer"


def test_the_hub_states_the_size_that_was_estimated(play, folder):
    assert download.fetch(known(size=7, exact=False), folder).read_bytes() == DATA


# Refused


KINDS = ["text/html", "Text/HTML; charset=utf-8", "application/json", "application/problem+json"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exact", [True, False])
def test_a_page_or_a_message_is_no_file(play, folder, kind, exact):
    play.tells_length = not exact
    entry = known(Release(play.url + "/x"), sha256=sha256(DATA), exact=exact)
    page = (200, {"Content-Type": kind}, b"log in" * 100_000)
    play.answers = [page]
    with pytest.raises(FetchError, match="a page or a message answered in its place") as error:
        download.fetch(entry, folder)
    assert is_one_sentence(error) and left(folder) == []
    play.tells_length = True
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    play.answers = [page]
    with pytest.raises(FetchError, match="a page or a message answered in its place"):
        download.fetch(entry, folder)
    assert download.fetch(entry, folder).read_bytes() == DATA and "Range" in play.gets()[-1]


@pytest.mark.parametrize("body", [b"", b"slow down", DATA[: len(DATA) // 2 - 1]])
def test_much_less_than_the_estimate_is_no_file(play, folder, body):
    play.answers = [(200, {}, body)]
    entry = known(Release(play.url + "/x"), exact=False)
    with pytest.raises(FetchError, match=f"sent {len(body)} bytes .* try again later") as error:
        download.fetch(entry, folder)
    assert is_one_sentence(error) and left(folder) == []
    assert f"about {len(DATA)} bytes" in str(error.value)
    assert download.fetch(entry, folder).read_bytes() == DATA


@pytest.mark.parametrize("length", [{}, {"Content-Length": "many"}, {"Content-Length": "²"}])
def test_a_length_that_is_not_told_is_missed_only_where_none_is_known(play, folder, length):
    play.tells_length = False
    play.answers = [(200, length, DATA)] * 2
    with pytest.raises(FetchError, match="does not tell how long it is") as error:
        download.fetch(known(Release(play.url + "/x"), exact=False), folder)
    assert is_one_sentence(error) and left(folder) == []
    assert download.fetch(known(Release(play.url + "/x")), folder).read_bytes() == DATA


@pytest.mark.parametrize("source", ["hub", "github"])
def test_a_wrong_hash_is_deleted(play, folder, source):
    stated = sha256(b"other")
    play.stated = {"X-Linked-Etag": f'"{stated}"'} if source == "hub" else {}
    entry = known(Release(play.url + "/release/x"), sha256=stated) if source == "github" else None
    with pytest.raises(FetchError, match=f"came damaged: .* but {stated} was stated") as error:
        download.fetch(entry or known(), folder)
    assert is_one_sentence(error) and left(folder) == [f"{NAME}.lock.json"]


def test_another_file_on_the_hub_than_the_known_one_is_not_fetched(play, folder):
    with pytest.raises(FetchError, match="holds another tiny.safetensors"):
        download.fetch(known(sha256=sha256(b"other")), folder)
    assert play.gets() == []


@pytest.mark.parametrize(
    ("size", "tells_length"),
    [(len(DATA) - 1, True), (len(DATA) + 1, True), (len(DATA) - 1, False)],
)
def test_a_wrong_length_is_deleted(play, folder, size, tells_length):
    play.tells_length = tells_length
    play.stated = {"X-Linked-Size": str(size)}
    with pytest.raises(FetchError, match=f"but {size} were stated") as error:
        download.fetch(known(), folder)
    assert is_one_sentence(error) and NAME not in left(folder)
    assert f"{NAME}.part" not in left(folder)


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "refuses it"), (403, "refuses it"), (404, "has it no more"), (418, "answered 418")],
)
@pytest.mark.parametrize("source", ["hub", "github"])
def test_a_refusal_says_what_to_do(play, folder, source, status, says):
    play.answers = [(status, {})]
    entry = known(Release(play.url + "/release/x")) if source == "github" else known()
    with pytest.raises(FetchError, match=says) as error:
        download.fetch(entry, folder)
    assert is_one_sentence(error) and len(play.asked) == 1
    assert entry.source.url() in str(error.value) and str(folder) in str(error.value)
    assert ("HF_TOKEN" in str(error.value)) == (source == "hub" and status in (401, 403))


@pytest.mark.parametrize(("status", "start"), [(416, "*/9"), (206, "7-8/9")])
def test_another_part_than_was_asked_for_is_dropped(play, folder, status, start):
    entry = known(Release(play.url + "/release/x"))
    with pytest.raises(CancelledError):
        download.fetch(entry, folder, check=cancel_after(folder, 300_000))
    play.answers = [(status, {"Content-Range": f"bytes {start}"})]
    with pytest.raises(FetchError, match=f"answered {status}") as error:
        download.fetch(entry, folder)
    assert is_one_sentence(error)
    assert download.fetch(entry, folder).read_bytes() == DATA and "Range" not in play.gets()[-1]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(play, folder, status, monkeypatch):
    waited = []
    monkeypatch.setattr(download, "_pause", lambda job, seconds: waited.append(seconds))
    play.answers = [(status, {"Retry-After": "7"})]
    assert download.fetch(known(), folder).read_bytes() == DATA
    assert waited == [7]


@pytest.mark.parametrize("asked", ["²", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_a_busy_server_asks_for_may_be_no_number(play, folder, monkeypatch, asked):
    waited = []
    monkeypatch.setattr(download, "_pause", lambda job, seconds: waited.append(seconds))
    play.answers = [(503, {"Retry-After": asked})]
    entry = known(Release(play.url + "/x"))
    assert download.fetch(entry, folder).read_bytes() == DATA and waited == [1]


def test_a_server_that_is_busy_for_long_is_not_waited_for(play, folder):
    play.answers = [(429, {"Retry-After": "3600"})]
    with pytest.raises(FetchError, match=r"too busy \(429\), run again in 3600 seconds") as error:
        download.fetch(known(), folder)
    assert is_one_sentence(error) and len(play.asked) == 1


def test_a_pause_can_be_cancelled(folder, monkeypatch):
    monkeypatch.undo()
    checks = iter([None, None])
    job = Job(known(), folder, check=lambda: next(checks))
    with pytest.raises(StopIteration):
        download._pause(job, 60)


def test_an_answer_that_is_no_hubs(play, folder):
    play.stated = {"X-Repo-Commit": ""}
    with pytest.raises(FetchError, match="no Hub: look at HF_ENDPOINT") as error:
        download.fetch(known(), folder)
    assert is_one_sentence(error)


@pytest.mark.parametrize("why", ["HF_HUB_OFFLINE", "RESTOREFLOW_FETCH=never", "cannot be reached"])
@pytest.mark.parametrize("source", ["hub", "github"])
def test_without_network_one_sentence_says_how_to_bring_it(play, folder, monkeypatch, source, why):
    dead = "http://127.0.0.1:9"
    if "never" in why:
        monkeypatch.setenv("RESTOREFLOW_FETCH", "never")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", why == "HF_HUB_OFFLINE")
    if why == "cannot be reached":
        hub_server.as_hub(monkeypatch, dead)
    entry = known(Release(dead + "/x") if source == "github" else None, sha256=sha256(DATA))
    monkeypatch.setattr(download, "_pause", lambda job, seconds: pytest.fail("asked again"))
    begun = time.monotonic()
    with pytest.raises(FetchError, match=why) as error:
        download.fetch(entry, folder)
    assert time.monotonic() - begun < 5 and is_one_sentence(error) and play.asked == []
    for fact in (NAME, entry.source.url(), str(len(DATA)), sha256(DATA), str(folder)):
        assert fact in str(error.value)


def test_a_certificate_file_that_is_missing_is_not_the_folders_fault(folder, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(FetchError, match=r"cannot be reached \(OSError\)"):
        download.fetch(known(Release("https://127.0.0.1:9/x")), folder)


# The disk


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "5",
        '[["part", 5]]',
        '{"part": 5, "etag": 5, "sha256": 5}',
        '{"part": {"identity": IDENTITY, "etag": 5, "size": 1048576}}',
        '{"part": {"identity": IDENTITY, "etag": "\\"x\\"", "size": "y"}}',
        '{"etag": IDENTITY, "sha256": 5}',
    ],
)
def test_a_malformed_record_is_as_none(play, folder, record):
    entry = known(Release(play.url + "/x"), exact=False)
    folder.mkdir(parents=True)
    (folder / f"{NAME}.part").write_bytes(b"old")
    lock = folder / f"{NAME}.lock.json"
    lock.write_text(record.replace("IDENTITY", json.dumps(entry.source.url())))
    assert download.fetch(entry, folder).read_bytes() == DATA
    assert [headers.get("Range") for headers in play.gets()] == [None]


class FullDisk:
    """A file that takes some bytes and then no more."""

    def __init__(self, file) -> None:
        self.file, self.room = file, 300_000

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


def test_a_disk_that_fills_up_keeps_what_has_come(play, folder, monkeypatch):
    def opened(path, mode):
        file = open(path, mode)  # noqa: SIM115
        return FullDisk(file) if mode == "ab" else file

    with monkeypatch.context() as context:
        context.setattr(transfer, "open", opened, raising=False)
        with pytest.raises(FetchError, match="no room .* make room and run again") as error:
            download.fetch(known(), folder)
    assert is_one_sentence(error) and (folder / f"{NAME}.part").stat().st_size > 0
    assert download.fetch(known(), folder).read_bytes() == DATA
    assert "Range" in play.gets()[-1]


def test_a_disk_without_room_is_not_filled(play, folder, monkeypatch):
    usage = type("Usage", (), {"free": len(DATA) - 1})
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FetchError, match="no room"):
        download.fetch(known(), folder)
    assert play.gets() == []


@pytest.mark.parametrize("callback", ["progress", "check", "tell"])
def test_what_a_callback_raises_is_not_the_folders_fault(play, folder, callback):
    raised = requests.ConnectionError("the line to the browser")  # an OSError, as requests' all are

    def call(*_: object) -> None:
        raise raised

    with pytest.raises(OSError) as error:
        download.fetch(known(), folder, **{callback: call})
    assert error.value is raised


def test_a_folder_that_cannot_be_written(play, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="cannot be written into") as error:
        download.fetch(known(), tmp_path / "file" / "restoreflow")
    assert is_one_sentence(error)


# Two at once


def test_two_prompts_fetch_it_once(play, folder):
    play.pace = 0.03
    told, paths = [], []

    def prompt() -> None:
        paths.append(download.fetch(known(), folder, tell=told.append))

    threads = [threading.Thread(target=prompt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [folder / NAME] * 2 and len(play.gets()) == 1
    assert [text for text in told if "waiting for it" in text]
    assert left(folder) == [NAME, f"{NAME}.lock.json"]


def test_one_who_waits_can_be_cancelled(play, folder):
    job = Job(known(), folder)
    folder.mkdir(parents=True)

    def check() -> None:
        raise CancelledError

    def wait() -> None:
        with contextlib.suppress(CancelledError):
            download.fetch(known(), folder, check=check)

    with download._alone(job):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


PROCESS = """
import sys, types
from pathlib import Path
pack = types.ModuleType("restoreflow"); pack.__path__ = [sys.argv[1]]
sys.modules["restoreflow"] = pack
from restoreflow.models import download, hub
known = hub.Known("tiny.safetensors", hub.Hub("a/b", "model.safetensors"), int(sys.argv[3]),
                  None, "MIT", "nothing")
download.fetch(known, Path(sys.argv[2]))
"""


def test_two_processes_fetch_it_once_from_the_endpoint_of_the_environment(play, folder):
    play.pace = 0.1
    command = [sys.executable, "-P", "-c", PROCESS, str(ROOT), str(folder), str(len(DATA))]
    environment = {**os.environ, "HF_ENDPOINT": play.url, "HF_TOKEN": "hf_mine"}
    both = [subprocess.Popen(command, env=environment, cwd=folder.anchor) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (folder / NAME).read_bytes() == DATA and len(play.gets()) == 1
    assert play.gets()[0]["Authorization"] == "Bearer hf_mine"
