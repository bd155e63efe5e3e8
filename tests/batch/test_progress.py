"""How far a batch is, on a terminal and elsewhere."""

import sys

import batch_progress
import pytest


def test_a_terminal_has_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with batch_progress.Progress() as progress:
        progress.show(0, 0, 0, None)  # nothing is known yet
        progress.show(6, 24, 2, 30.0)
        progress.show(24, 24, 0, None)
    shown = capsys.readouterr().out
    first, second = shown.removeprefix("\r").removesuffix("\n").split("\r")
    assert first == "[######------------------] 6/24 photos, 30.0 a minute, 36 s left, 2 failed"
    assert second.rstrip() == "[########################] 24/24 photos"
    assert len(second) >= len(first)


def test_elsewhere_lines_come_now_and_then(capsys):
    with batch_progress.Progress() as progress:
        for settled in range(1, 9):
            progress.show(settled, 9, 0, 1.0)
    assert capsys.readouterr().out.splitlines() == ["1/9 photos, 1.0 a minute, 8 min left"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7300, "2 h 2 min")]
)
def test_durations(seconds, text):
    assert batch_progress.duration(seconds) == text
