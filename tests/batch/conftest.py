"""A server that plays the pack's routes, and commands that speak to it."""

import json
from collections.abc import Iterator
from pathlib import Path

import batch
import batch_remote
import job_server
import pytest
from photo_server import GRAPH, TOKEN, Play, playing

NAMES = ["a1.png", "a2.png", "a10.jpg", "sub/b.png", "sub/deep/c.png"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for anything."""
    monkeypatch.setattr(batch, "POLL", 0.001)
    monkeypatch.setattr(batch_remote, "POLL", 0.001)
    monkeypatch.setattr(job_server, "PAUSES", (0, 0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Play]:
    """A server that sees no folder of this machine, as one in a container."""
    with playing(tmp_path / "server") as play:
        yield play


@pytest.fixture
def here(server: Play, tmp_path: Path) -> Play:
    """The server on this machine, run by this user."""
    server.token = tmp_path / "user" / "token"
    server.token.parent.mkdir()
    server.token.write_text(TOKEN)
    server.token.chmod(0o600)
    return server


class Ask:
    """A command line with its folders."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture) -> None:
        self.root, self.capsys = root, capsys
        self.source, self.target = root / "photos", root / "results"
        self.file = root / "graph.json"
        self.file.write_text(json.dumps(GRAPH))
        for name in NAMES:
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_bytes(name.encode())
        self.out, self.err = "", ""

    @property
    def options(self) -> list[str]:
        """Those that every command has."""
        folders = ["--in", str(self.source), "--out", str(self.target)]
        return ["--workflow", str(self.file), *folders]

    def run(self, url: str, *more: str) -> dict:
        """The summary of a run."""
        with pytest.raises(SystemExit) as ended:
            batch.main([*self.options, "--server", url, "--json", "-", *more])
        self.out, self.err = self.capsys.readouterr()
        summary = json.loads(self.out)
        assert summary["exit_code"] == ended.value.code
        return summary

    def results(self) -> dict[str, bytes]:
        """What lies in the output folder."""
        found = [path for path in self.target.rglob("*") if path.is_file()]
        return {path.relative_to(self.target).as_posix(): path.read_bytes() for path in found}

    def wanted(self, *without: str) -> dict[str, bytes]:
        """What should lie there: the bytes of each photo, turned round."""
        left = [Path(name) for name in NAMES if name not in without]
        return {
            path.with_stem(f"{path.stem}_restored").as_posix(): path.as_posix().encode()[::-1]
            for path in left
        }


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture) -> Ask:
    """A command for five photos."""
    return Ask(tmp_path, capsys)
