"""`run.py batch` on a server of this machine: what it says, and with which code it ends."""

import json
import os
import subprocess
import sys

import batch
import pytest
from photo_server import TOKEN, playing


def test_all_done(here, ask):
    summary = ask.run(here.url)
    assert (summary["exit_code"], summary["state"], summary["job"]) == (0, "finished", 1)
    assert summary["counts"] == {"done": 5} and summary["outputs"] == 5
    assert summary["failures"] == [] and summary["reason"] is None and summary["seconds"] > 0
    assert ask.results() == ask.wanted() and not here.made("drop")
    assert "5 photos done, 0 failed in" in ask.err


def test_some_failed(here, ask):
    here.bad = {"a2.png"}
    summary = ask.run(here.url)
    assert summary["exit_code"] == 1 and ask.results() == ask.wanted("a2.png")
    assert summary["failures"] == [{"path": "a2.png", "error": "It is no photo."}]
    assert "  a2.png: It is no photo." in ask.err


def test_photos_that_vanished_are_named_and_no_success(here, ask):
    here.gone = {"a10.jpg", "sub/b.png"}
    summary = ask.run(here.url)
    assert summary["exit_code"] == 1 and summary["counts"] == {"done": 3, "gone": 2}
    assert [failure["path"] for failure in summary["failures"]] == ["a10.jpg", "sub/b.png"]
    assert "3 photos done, 0 failed, 2 gone in" in ask.err
    assert "  sub/b.png: it was removed from the folder before it was done\n" in ask.err


def test_a_bad_photo_that_somebody_removed_is_no_failure_any_more(here, ask):
    here.bad = {"a2.png"}
    assert ask.run(here.url)["exit_code"] == 1
    (row,) = (row for row in here.photos[1] if row["path"] == "a2.png")
    row["state"] = "gone"
    summary = ask.run(here.url)
    assert summary["exit_code"] == 0 and summary["counts"] == {"done": 4, "gone": 1}


def test_a_photo_that_vanished_before_its_second_attempt_is_told_once(here, ask):
    here.gone = {"a10.jpg"}
    work = here.work

    def fail_first(job: dict) -> None:
        work(job)
        for row in here.photos[job["id"]]:
            row["error"] = "The network failed." if row["state"] == "gone" else row["error"]

    here.work = fail_first
    summary = ask.run(here.url)
    assert summary["exit_code"] == 1
    assert [failure["path"] for failure in summary["failures"]] == ["a10.jpg"]
    summary = ask.run(here.url)
    assert summary["exit_code"] == 0 and summary["counts"] == {"done": 4, "gone": 1}


@pytest.mark.parametrize("lost", [0, 1])
def test_what_was_left_out_is_told_and_counts_if_it_may_be_a_photo(here, ask, lost):
    here.left_out, here.lost = "1 thing was left out: x: no.", lost
    summary = ask.run(here.url)
    assert summary["exit_code"] == lost and summary["reason"] == here.left_out
    assert "1 thing was left out: x: no." in ask.err


def test_one_photo_is_one(here, ask):
    ask.run(here.url, "--limit", "1")
    assert "1 photo done, 0 failed in" in ask.err and "0/1 photo, " in ask.err


def test_notes_are_counted_by_what_they_say(here, ask):
    lost = "PNG holds no IPTC; it was left out."
    here.notes = {"a1.png": [lost, "Odd \x1b."], "sub/b.png": [lost]}
    summary = ask.run(here.url)
    assert summary["exit_code"] == 0
    assert summary["notes"] == [
        {"path": "a1.png", "notes": [lost, "Odd \x1b."]},
        {"path": "sub/b.png", "notes": [lost]},
    ]
    assert f"  2 photos: {lost}\n  1 photo: Odd \\x1b.\n" in ask.err


def test_a_job_at_work_is_said_to_be_waited_for(here, ask):
    ask.run(here.url)
    assert "works on" not in ask.err
    here.jobs[0]["state"] = "running"
    ask.run(here.url)
    assert "The server works on this job already: this command waits for its end." in ask.err
    here.jobs[0]["state"] = "running"
    ask.run(here.url, "--limit", "1")
    assert "The server works on other photo jobs, too: they take turns." in ask.err


def test_no_name_is_too_much_for_an_encoding(here, ask):
    """As of a pipe on Windows; a long name and one from right to left stay on their lines."""
    names = ["日本.png", "שלום.png", f"{'w' * 200}.png"]
    for name in names:
        (ask.source / name).write_bytes(b"x")
    here.bad = {*names}
    command = [sys.executable, batch.__file__, *ask.options, "--server", here.url, "--json", "-"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, text=True, env=ascii_only)
    assert ran.returncode == 1, ran.stderr
    assert [one["path"] for one in json.loads(ran.stdout)["failures"]] == [*reversed(names)]
    lines = [line for line in ran.stderr.splitlines() if line.endswith(": It is no photo.")]
    assert len(lines) == 3 and r"  \u65e5\u672c.png: It is no photo." in lines


@pytest.mark.skipif(os.name == "nt", reason="no file is called so there")
def test_a_name_does_not_steer_the_terminal(here, ask):
    name = "\x1b[2Jä\x9b\u202e\r\n.png"
    (ask.source / name).write_bytes(b"")
    here.bad = {name}
    here.stops = "It is \x1b[7mfull.\nSee the log."
    ask.run(here.url)
    assert "batch: It is \\x1b[7mfull.\nSee the log." in ask.err
    here.stops = None
    assert ask.run(here.url)["failures"] == [{"path": name, "error": "It is no photo."}]
    assert "  \\x1b[2Jä\\x9b\\u202e\\r\\n.png: It is no photo.\n" in ask.err


def test_failed_photos_are_tried_again_if_asked(here, ask):
    here.bad = {"a2.png"}
    ask.run(here.url)
    here.bad = set()
    assert ask.run(here.url)["exit_code"] == 1
    assert ask.run(here.url, "--retry-failed")["exit_code"] == 0
    assert len(here.jobs) == 1


def test_a_stopped_job_says_why(here, ask):
    here.stops = "x.safetensors is missing."
    summary = ask.run(here.url)
    assert (summary["exit_code"], summary["state"]) == (3, "stopped")
    assert "batch: x.safetensors is missing." in ask.err


@pytest.mark.parametrize("state", ["interrupted", "paused", "running", "finished"])
def test_the_same_command_takes_up_its_job(here, ask, state):
    ask.run(here.url)
    here.jobs[0]["state"] = state
    (ask.source / "new.png").write_bytes(b"new")
    found = 5 if state == "running" else 6  # one that runs has looked already
    assert ask.run(here.url)["counts"] == {"done": found}
    assert len(here.jobs) == 1


@pytest.mark.parametrize("more", ["--set=2.steps=9", "--limit=2", "--retries=4"])
def test_another_command_is_another_job(here, ask, more):
    ask.run(here.url)
    ask.run(here.url, more)
    first, second = here.jobs
    assert first["name"] != second["name"]
    assert second["source"] == str(ask.source) and second["target"] == str(ask.target)
    assert (second.get("limit"), second.get("retries")) in [(None, None), (2, None), (None, 4)]
    assert second["graph"]["2"]["inputs"]["steps"] == (9 if "steps" in more else 5)


def test_ctrl_c_pauses(here, ask, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch.Progress, "show", interrupt)
        summary = ask.run(here.url)
    assert (summary["exit_code"], summary["state"]) == (130, "paused")
    assert "The same command goes on from here." in ask.err
    assert ask.run(here.url)["counts"] == {"done": 5} and len(here.jobs) == 1


def test_a_summary_in_a_file(here, ask, tmp_path):
    file = tmp_path / "summary.json"
    with pytest.raises(SystemExit) as ended:
        batch.main([*ask.options, "--server", here.url, "--json", str(file)])
    assert ended.value.code == 0 and json.loads(file.read_text())["counts"] == {"done": 5}
    assert "5 photos done" in ask.capsys.readouterr().out


def test_many_failures_are_not_all_printed(here, ask):
    names = {f"n{number}.png" for number in range(30)}
    for name in names:
        (ask.source / name).write_bytes(b"x")
    here.bad = names
    assert len(ask.run(here.url)["failures"]) == 30
    assert ask.err.count("It is no photo.") == 20 and "and 10 more" in ask.err


# The token


def test_the_token_goes_with_every_order(here, ask):
    ask.run(here.url)
    orders = [headers for method, _, headers in here.asked if method == "POST"]
    assert orders and all(headers["X-Restoreflow-Token"] == TOKEN for headers in orders)


def test_no_token_is_sent_of_a_file_that_is_not_trusted(here, ask):
    here.token.write_text("not a token")
    summary = ask.run(here.url)
    assert summary["exit_code"] == 3 and "does not hold a token" in ask.err
    assert not any("X-Restoreflow-Token" in headers for _, _, headers in here.asked)
    assert here.jobs == []


def test_the_token_follows_no_redirect(here, ask, tmp_path):
    with playing(tmp_path / "other") as other:
        here.redirect = f"{other.url}/restoreflow/jobs"
        assert ask.run(here.url)["exit_code"] == 3
        assert other.asked == [] and "answers 302" in ask.err
