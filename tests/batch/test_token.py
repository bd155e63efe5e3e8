"""Only a file that can be nothing but a token is read, and its content sent."""

import os
import socket

import job_token
import pytest
from photo_server import TOKEN

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def refused(file, sentence: str) -> None:
    with pytest.raises(job_token.TokenError, match=sentence):
        job_token.read(file)


def test_a_token_is_read(file):
    assert job_token.read(file) == TOKEN


def test_no_file_is_no_token(tmp_path):
    assert job_token.read(tmp_path / "token") is None


@pytest.mark.parametrize("text", ["", TOKEN[:-1], f"{TOKEN}0", f"{TOKEN}\n", "g" * 64, "A" * 64])
def test_other_content_is_not_sent(file, text):
    file.write_text(text)
    refused(file, "does not hold a token of 64 digits")


def test_a_file_of_another_name_is_not_read(file):
    refused(file.rename(file.with_name("id_rsa")), "no such file's name")
    refused(file.relative_to(file.anchor), "no such file's name")


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o400, 0o700])
def test_a_file_that_others_may_read_is_not_trusted(file, mode):
    file.chmod(mode)
    refused(file, "can be read by others")


@posix
def test_another_users_file_is_not_trusted(file, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: os.stat(file).st_uid + 1)
    refused(file, "belongs to another user")


@posix
def test_what_is_no_plain_file_is_not_trusted(file, tmp_path):
    for name, make in {
        "link": lambda path: path.symlink_to(file),
        "folder": lambda path: path.mkdir(),
        "pipe": os.mkfifo,
        "socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    }.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / "token")
        refused(tmp_path / name / "token", "no plain file|cannot be read")
