"""`run.py allow`: on any Python, with nothing installed and no environment made."""

import os
import subprocess
import sys
from pathlib import Path

import allow
import pytest
from restoreflow.jobs.folders import Folders, default_file

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(capsys, *arguments: str) -> str:
    allow.main(arguments)
    return capsys.readouterr().out


def test_folders_are_allowed_listed_and_taken_back(capsys, tmp_path):
    assert "No folder is allowed by command." in said(capsys)
    told = said(capsys, str(tmp_path))
    assert f"Photo jobs may now read {tmp_path} and all below it." in told
    assert f"  read         {tmp_path}\n" in told
    assert f"  read, write  {tmp_path}\n" in said(capsys, str(tmp_path), "--write")
    assert f"  read, write  {tmp_path}\n" in said(capsys, "--list")
    (kept,) = Folders(default_file()).list()
    assert (kept.path, kept.write) == (str(tmp_path), True)
    assert "No folder is allowed by command." in said(capsys, "--remove", str(tmp_path))


def test_what_is_allowed_is_the_real_place(capsys, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert f"now read {tmp_path / 'photos'} and" in said(capsys, "link")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "allow: nowhere cannot be allowed: there is no such folder."),
        (["--remove", "nowhere"], "allow: nowhere was not allowed by command"),
    ],
)
def test_a_failure_is_one_sentence(arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        allow.main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [["--write"], ["--remove"], ["x", "--list"], ["x", "--write", "--remove"], [""]],
)
def test_a_wrong_command_line(arguments):
    with pytest.raises(SystemExit) as ended:
        allow.main(arguments)
    assert ended.value.code == 2


def test_it_needs_the_standard_library_only(home, tmp_path):
    command = [sys.executable, "-I", "-S", str(ROOT / "run.py"), "allow", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert ran.returncode == 0, ran.stderr
    assert str(tmp_path) in ran.stdout
    assert {path.name for path in home.iterdir()} == {"folders.json", "folders.json.lock"}
