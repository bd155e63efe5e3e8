"""Known weights: the list, and where they are found without network."""

import hub_server
import pytest
from hub_server import COMMIT
from restoreflow.models import hub, registry
from restoreflow.models.hub import Hub, Known, Release

NAME = "tiny.safetensors"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    hub_server.alone(monkeypatch, tmp_path / "cache")


def known(source: Hub | Release) -> Known:
    return Known(NAME, source, 1, None, "MIT", "nothing")


ON_HUB = known(Hub("someone/something", "model.safetensors"))


def test_the_list_is_sound():
    assert len({entry.name for entry in hub.KNOWN}) == len(hub.KNOWN)
    for entry in hub.KNOWN:
        assert entry.name.endswith(registry.EXTENSIONS)
        assert entry.source.url().startswith("https://")
        assert entry.size > 0 and entry.licence and entry.holds


@pytest.mark.parametrize(
    "text",
    [
        "pmrf-face-512.safetensors",
        "faces/pmrf-face-512.safetensors",
        r"a\pmrf-face-512.safetensors",
    ],
)
def test_a_combo_value_names_its_weight(text):
    assert hub.named(text) is hub.KNOWN[0]
    assert hub.named("other.safetensors") is None


def test_found_in_a_subfolder_of_any_root(tmp_path):
    assert hub.find(ON_HUB, [tmp_path / "missing", tmp_path]) is None
    path = tmp_path / "a" / "b" / NAME
    path.parent.mkdir(parents=True)
    path.touch()
    assert hub.find(ON_HUB, [tmp_path / "missing", tmp_path]) == path
    assert hub.find(known(Release("https://github.invalid/x")), []) is None


def test_found_in_the_hubs_cache(tmp_path):
    repo = tmp_path / "cache" / "models--someone--something"
    path = repo / "snapshots" / COMMIT / "model.safetensors"
    for file, text in ((path, "weights"), (repo / "refs" / "main", COMMIT)):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    assert hub.find(ON_HUB, [tmp_path / "missing"]) == path
