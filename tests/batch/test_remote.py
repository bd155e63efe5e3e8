"""`run.py batch` on a server of another machine: photos go there, results come back."""

import json
import os
from pathlib import Path

import batch
import batch_remote
import pytest
from photo_server import GRAPH


def test_a_server_that_sees_no_folder_of_ours_is_sent_the_photos(server, ask):
    server.bad = {"a2.png"}
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and summary["outputs"] == 4
    assert summary["failures"] == [{"path": "a2.png", "error": "It is no photo."}]
    assert ask.results() == ask.wanted("a2.png")
    assert len(server.made("drop")) == 5 and len(server.jobs) == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_sidecars_that_stay_on_the_server_are_told(server, ask, wanted):
    save = {**GRAPH["3"], "inputs": {**GRAPH["3"]["inputs"], "sidecar": wanted}}
    ask.file.write_text(json.dumps({**GRAPH, "3": save}))
    job = ask.run(server.url)["job"]
    folder = Path(server.jobs[job - 1]["target"]).relative_to(server.roots["output"])
    assert (f"their sidecars stay there, in {folder.as_posix()}" in ask.err) is wanted


def test_what_stays_on_the_server_is_told(server, ask):
    server.bad = {"a2.png"}
    server.notes = {"a1.png": ["No IPTC."]}
    summary = ask.run(server.url)
    sent, made = summary["left_there"]
    assert (sent, made) == (server.jobs[0]["source"], server.jobs[0]["target"])
    said = f"The server keeps what was sent in {sent} and what was made in {made}: delete both"
    assert said in ask.err and "forget job 1" in ask.err
    assert summary["notes"] == [{"path": "a1.png", "notes": ["No IPTC."]}]


def test_what_an_unfinished_batch_needs_is_not_told_to_be_deleted(server, ask):
    server.stops = "x.safetensors is missing."
    assert ask.run(server.url)["exit_code"] == 3 and "delete both" not in ask.err


def test_a_token_of_another_machine_is_no_token(server, ask, tmp_path):
    server.token = tmp_path / "in a container" / "token"
    assert ask.run(server.url)["exit_code"] == 0
    assert len(server.made("drop")) == 5


def test_a_large_folder_does_not_fill_the_server(server, ask, monkeypatch):
    monkeypatch.setattr(batch_remote, "WINDOW", 6)
    monkeypatch.setattr(batch_remote, "STEP", 3)
    for number in range(60):
        (ask.source / f"n{number}.png").write_bytes(b"%d" % number)
    assert ask.run(server.url)["counts"] == {"done": 65}
    assert len(ask.results()) == 65 and len(server.made("drop")) == 65
    assert server.most_open <= 6


def test_a_limit_holds_for_what_is_sent(server, ask):
    assert ask.run(server.url, "--limit", "2")["counts"] == {"done": 2}
    assert len(server.made("drop")) == 2


def test_what_was_sent_is_not_sent_again(server, ask, monkeypatch):
    monkeypatch.setattr(batch_remote, "WINDOW", 2)
    shown = []

    def interrupt(_, settled, *__):
        shown.append(settled)
        if settled >= 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch.Progress, "show", interrupt)
        assert ask.run(server.url)["exit_code"] == 130
    assert 2 <= len(server.made("drop")) < 5
    assert ask.run(server.url)["exit_code"] == 0
    assert len(server.made("drop")) == 5 and ask.results() == ask.wanted()
    assert ask.run(server.url)["outputs"] == 5 and len(server.made("drop")) == 5


def test_a_batch_that_was_killed_counts_no_photo_twice(server, ask, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch.Progress, "show", kill)
        ask.run(server.url)
    job = server.jobs[0]
    job["state"] = "running"  # nobody paused it, so that it does not look for more
    sent = Path(job["source"])
    for name in ("a1.png", "a2.png"):  # the second one after it last looked
        (sent / name).write_bytes(name.encode())
    (sent / "b.png").write_bytes(b"of an earlier state of the folder")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 0 and summary["outputs"] == 5
    assert summary["counts"] == {"done": 5} and ask.results() == ask.wanted()


def test_a_photo_that_came_between_others_is_done_too(server, ask):
    ask.run(server.url)
    (ask.source / "a0.png").write_bytes(b"a0.png")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 0 and summary["counts"] == {"done": 6}
    assert ask.results() == {**ask.wanted(), "a0_restored.png": b"gnp.0a"}


def test_a_changed_photo_is_not_sent_over_the_old_one(server, ask):
    ask.run(server.url)
    (ask.source / "a1.png").write_bytes(b"another one")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and ask.results() == ask.wanted()
    assert "it has changed since it was sent" in summary["failures"][0]["error"]


def test_a_changed_photo_of_equal_size_is_not_taken_for_the_old_one(server, ask, monkeypatch):
    monkeypatch.setattr(batch_remote, "WINDOW", 2)  # all but two are settled before it is looked at
    ask.run(server.url)
    (ask.source / "sub" / "b.png").write_bytes(b"bus/b.gnp")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and summary["counts"] == {"done": 4, "failed": 1}
    (failure,) = summary["failures"]
    assert failure["path"] == "sub/b.png" and "it has changed since" in failure["error"]
    assert len(server.made("drop")) == 5


def test_what_the_server_has_not_read_yet_is_compared_by_it(server, ask, monkeypatch):
    monkeypatch.setattr(server, "stops", "x.safetensors is missing.")
    ask.run(server.url)
    server.stops = None
    (ask.source / "a1.png").write_bytes(b"gnp.1a")
    summary = ask.run(server.url)
    (failure,) = summary["failures"]
    assert failure["path"] == "a1.png" and "it has changed since" in failure["error"]
    assert ask.results() == ask.wanted("a1.png")


@pytest.mark.skipif(os.name == "nt", reason="no such names and links there")
def test_what_is_left_out_is_told(server, ask):
    (ask.source / "away.png").symlink_to(ask.file)
    summary = ask.run(server.url)
    assert summary["exit_code"] == 0 and "away.png: it is a link" in summary["reason"]
    with open(os.fsencode(ask.source) + b"/\xff.jpg", "wb"):
        pass
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and "2 things were left out" in summary["reason"]
    assert "the name is not Unicode" in ask.err


def test_a_photo_that_the_server_refuses_fails_alone(server, ask, monkeypatch):
    drop = server.drop
    refusal = {"status": 400}
    monkeypatch.setattr(
        server,
        "drop",
        lambda query, data: drop(query, data) if query["path"] != "a1.png" else {**refusal},
    )
    summary = ask.run(server.url)
    assert summary["failures"] == [{"path": "a1.png", "error": "It is refused."}]
    assert ask.results() == ask.wanted("a1.png")


@pytest.mark.parametrize("foreign", [b"somebody else's", b"1ng.pa"])  # the one of equal size
def test_a_foreign_file_is_neither_written_over_nor_taken_for_a_result(server, ask, foreign):
    ask.target.mkdir()
    (ask.target / "a1_restored.png").write_bytes(foreign)
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and "there already" in summary["failures"][0]["error"]
    assert ask.results() == {**ask.wanted(), "a1_restored.png": foreign}


def test_a_result_that_was_changed_on_the_server_is_not_kept(server, ask, monkeypatch):
    monkeypatch.setattr(server, "output", lambda *_: ask.file)
    summary = ask.run(server.url)
    assert "not on the server any more" in summary["failures"][0]["error"]
    assert len(summary["failures"]) == 5 and ask.results() == {}


def test_a_broken_download_leaves_nothing_and_is_tried_again(server, ask):
    server.cut = 1
    (ask.target / "sub").mkdir(parents=True)
    (ask.target / "sub" / ".0.restoreflow-part").touch()  # of a run that was killed
    assert ask.run(server.url)["exit_code"] == 0 and ask.results() == ask.wanted()


@pytest.mark.parametrize("path", ["../evil.png", "/tmp/evil.png", "sub/../../evil.png", "run.sh"])
def test_a_server_cannot_choose_places(server, ask, monkeypatch, path):
    work = server.work

    def lie(job):
        work(job)
        for row in server.photos[job["id"]]:
            row["outputs"] = [path] if row["path"] == "a1.png" else row["outputs"]

    monkeypatch.setattr(server, "work", lie)
    monkeypatch.setattr(server, "output", lambda *_: ask.file)
    summary = ask.run(server.url)
    assert "the server names" in summary["failures"][0]["error"]
    assert not list(ask.root.rglob("evil.png")) and not list(ask.root.rglob("run.sh"))
