"""ComfyUI's source on the path, on the CPU, so that nodes run in this process."""

import sys
from types import ModuleType

import environment
import pytest


@pytest.fixture(scope="session")
def nodes() -> ModuleType:
    """The pack's nodes, imported as ComfyUI imports them but without its server."""
    if not environment.is_complete():
        pytest.skip("ComfyUI's source is there in the environment of `run.py test` only")
    sys.path.insert(0, str(environment.comfyui()))
    import comfy.options
    import utils.extra_config  # as main.py does, before a module of that name shadows the package

    assert utils.extra_config
    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    import restoreflow.nodes

    return restoreflow.nodes


@pytest.fixture(scope="session")
def host(nodes: ModuleType) -> ModuleType:
    """The seam to ComfyUI, with the pack's folder registered."""
    nodes.host.register()
    nodes.transport_files.register_folder()
    return nodes.host


@pytest.fixture(scope="session")
def weights(host: ModuleType) -> ModuleType:
    """The weight files and the parts kept loaded."""
    return host.weights


@pytest.fixture
def weights_folder(weights, tmp_path, monkeypatch):
    """An empty model folder that takes the place of the registered ones, beside the demo's."""
    import folder_paths

    folder = tmp_path / "restoreflow"
    folder.mkdir()
    registered = ([str(folder), str(weights.EMBEDDED)], set(weights.EXTENSIONS))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, weights.FOLDER, registered)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    weights.forget()
    return folder
