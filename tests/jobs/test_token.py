"""The token of the machine's user."""

import os
import sys

import pytest
from restoreflow.jobs.token import fits, token_file


def test_it_is_made_once_and_read_by_its_owner_only(tmp_path):
    folder = tmp_path / "user" / "pack"
    assert not fits(folder, "")
    file = token_file(folder)
    text = file.read_text()
    assert len(bytes.fromhex(text)) == 32
    assert token_file(folder) == file and file.read_text() == text
    assert [path.name for path in folder.iterdir()] == ["token"]
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600
    assert fits(folder, text)
    for wrong in ("", text[:-1], f"{text} ", text.upper() + "x", "ü", "\udcff"):
        assert not fits(folder, wrong)


@pytest.mark.parametrize("content", ["", "0" * 63, "g" * 64, "é" * 64, "0" * 65])
def test_what_is_no_token_is_replaced(tmp_path, content):
    (tmp_path / "token").write_bytes(content.encode("latin-1"))
    assert not fits(tmp_path, content)
    assert len(token_file(tmp_path).read_text()) == 64


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says who may read elsewhere")
def test_one_that_others_could_read_is_replaced(tmp_path):
    old = token_file(tmp_path).read_text()
    os.chmod(tmp_path / "token", 0o640)
    assert not fits(tmp_path, old)
    assert token_file(tmp_path).read_text() != old
