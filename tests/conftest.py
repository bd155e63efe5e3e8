"""The pack is imported as `restoreflow`, without its root `__init__` and so without ComfyUI.

Tests of the real host take the fixture `host`; it exists where `run.py test` runs them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import comfyui
import environment
from client import Client

ROOT = environment.SCRIPTS.parent

pack = ModuleType("restoreflow")
pack.__path__ = [str(ROOT)]
sys.modules["restoreflow"] = pack
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random weights are the same in every run of a test."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def random_state_untouched() -> Iterator[None]:
    """Fails a test in which the global random state of torch has moved."""
    import torch

    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the global random state was changed"


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[comfyui.Host]:
    """A real ComfyUI with the pack in it, started as `run.py serve` starts it, without network."""
    if Path(sys.prefix) != environment.python().parents[1]:
        pytest.skip("a real ComfyUI is started by `run.py test` only")
    with comfyui.Host(comfyui.find(), tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def client(host: comfyui.Host) -> Client:
    """A client of the real ComfyUI."""
    return Client(host.url)
