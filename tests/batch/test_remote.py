"""`run.py batch` on a server of another machine: photos go there, results come back."""

import batch
import batch_remote
import pytest


def test_a_server_that_sees_no_folder_of_ours_is_sent_the_photos(server, ask):
    server.bad = {"a2.png"}
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and summary["outputs"] == 4
    assert summary["failures"] == [{"path": "a2.png", "error": "It is no photo."}]
    assert ask.results() == ask.wanted("a2.png")
    assert len(server.made("drop")) == 5 and len(server.jobs) == 1


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


def test_a_changed_photo_is_not_sent_over_the_old_one(server, ask):
    ask.run(server.url)
    (ask.source / "a1.png").write_bytes(b"another one")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and ask.results() == ask.wanted()
    assert "it has changed since it was sent" in summary["failures"][0]["error"]


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


def test_a_foreign_file_is_never_written_over(server, ask):
    ask.target.mkdir()
    (ask.target / "a1_restored.png").write_bytes(b"somebody else's")
    summary = ask.run(server.url)
    assert summary["exit_code"] == 1 and "there already" in summary["failures"][0]["error"]
    assert ask.results() == {**ask.wanted(), "a1_restored.png": b"somebody else's"}


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
