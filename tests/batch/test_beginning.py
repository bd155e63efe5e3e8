"""What keeps `run.py batch` from beginning: said in one sentence, with a code of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import batch
import environment
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_server_that_is_not_there(ask):
    summary = ask.run("http://127.0.0.1:9")
    assert (summary["exit_code"], summary["job"]) == (3, None)
    assert "http://127.0.0.1:9 does not answer" in ask.err and "is it running?" in ask.err


def test_a_server_without_restoreflow(server, ask):
    server.has_pack = False
    assert ask.run(server.url)["exit_code"] == 3
    assert "answers 404 Not Found; is there a RestoreFlow with photo jobs in it?" in ask.err


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda ask: ask.file.write_text("{}"), "no workflow of ComfyUI"),
        (lambda ask: setattr(ask, "source", ask.root / "none"), "there is no folder"),
        (lambda ask: setattr(ask, "source", ask.file), "there is no folder"),
        (lambda ask: setattr(ask, "target", ask.source), "results cannot go among the photos"),
        (lambda ask: setattr(ask, "target", ask.file), "cannot be made"),
        (lambda ask: (ask.root / "empty").mkdir() or setattr(ask, "source", ask.root / "empty"),
         "there is no photo in"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_asked(here, ask, prepare, sentence):
    prepare(ask)
    assert ask.run(here.url)["exit_code"] == 2
    assert sentence in ask.err and here.asked == []


def test_a_wrong_assignment(here, ask):
    assert ask.run(here.url, "--set", "2.steps=0")["exit_code"] == 2
    assert "too small" in ask.err and here.jobs == []


@pytest.mark.parametrize(
    "more", [["--server", "localhost:8188"], ["--limit", "0"], ["--retries", "-1"], ["--what"]]
)
def test_a_wrong_command_line(more):
    command = [sys.executable, str(ROOT / "run.py"), "batch", "--workflow", "f", "--in", "i"]
    ran = subprocess.run([*command, "--out", "o", *more], capture_output=True, text=True)
    assert ran.returncode == 2 and "error: " in ran.stderr


def test_one_batch_of_our_own_at_a_time(ask, monkeypatch):
    monkeypatch.setenv("RESTOREFLOW_HOME", str(ask.root / "home"))
    (ask.root / "home" / "batch").mkdir(parents=True)
    lock = environment.locked(ask.root / "home" / "batch" / "lock")
    with lock, pytest.raises(SystemExit) as ended:
        batch.main(ask.options)
    assert ended.value.code == 3 and "another batch runs" in ask.capsys.readouterr().err


def test_a_batch_of_our_own_has_the_models_of_serve(ask, monkeypatch):
    home = ask.root / "home"
    monkeypatch.setenv("RESTOREFLOW_HOME", str(home))
    host = Mock(url="http://127.0.0.1:9")
    monkeypatch.setattr(batch.comfyui, "find", lambda: None)
    monkeypatch.setattr(batch.comfyui, "Host", lambda *_, **__: contextlib.nullcontext(host))
    own = home / "batch" / "models"
    own.mkdir(parents=True)
    for number in range(2):  # the second time there is a link already
        with batch.serving(None):
            (home / "serve" / "models" / str(number)).touch()
            assert (own / str(number)).exists()


def test_a_set_up_that_fails_is_no_failed_photo(ask):
    home = {**os.environ, "RESTOREFLOW_HOME": str(ask.file / "home")}
    command = [sys.executable, str(ROOT / "run.py"), "batch", *ask.options]
    ran = subprocess.run(command, capture_output=True, text=True, env=home)
    assert ran.returncode == 3 and "set RESTOREFLOW_HOME" in ran.stderr


def test_help_needs_no_environment(tmp_path):
    home = {**os.environ, "RESTOREFLOW_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-I", "-S", str(ROOT / "run.py"), "batch", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, env=home)
    assert ran.returncode == 0 and "exit codes:" in ran.stdout
    assert not (tmp_path / "home").exists()
