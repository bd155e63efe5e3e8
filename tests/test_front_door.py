"""The front door: what it says when set-up fails, and that it never uses half an environment."""

import ast
import importlib.util
import re
import subprocess
import sys

import comfyui
import environment
import pytest
from setup_step import CAUSES, SetupError, explain, run_step

ROOT = environment.SCRIPTS.parent
PIP_OUTPUT = {
    "the disk is full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space",
    "certificate": "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))",
    "cannot be reached": "NewConnectionError('Failed to establish')\nERROR: No matching "
    "distribution found for torchsde==0.2.6",
    "not the one that was tested": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
    "no torch==2.13.0 for Python": "ERROR: No matching distribution found for torch==2.13.0",
    "no ready-made build": "error: subprocess-exited-with-error",
    "Visual C\\+\\+": "ImportError: DLL load failed while importing _C",
    "unknown to it.*: boom": "something\nboom",
}


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A home of RestoreFlow's with nothing in it, and no ComfyUI of the user's."""
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return tmp_path / "home"


def test_an_older_python_can_read_the_front_door():
    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("arguments", [[], ["--all"]])
def test_the_demo_is_asked_what_the_front_door_was(monkeypatch, arguments):
    spec = importlib.util.spec_from_file_location("front_door", ROOT / "run.py")
    door = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds to it
    spec.loader.exec_module(door)
    asked = []
    monkeypatch.setattr(door, "run_inside", lambda script, rest: asked.append((script.name, rest)))
    monkeypatch.setattr(sys, "argv", ["run.py", "demo", *arguments])
    door.main()
    assert asked == [("demo.py", arguments)]


def test_every_cause_is_tested():
    assert len(PIP_OUTPUT) == len(CAUSES) + 1


@pytest.mark.parametrize("sentence", PIP_OUTPUT)
def test_a_failed_step_is_explained(sentence):
    explanation = explain(PIP_OUTPUT[sentence])
    assert re.search(sentence, explanation) and "\n" not in explanation


def test_a_failed_step_ends_in_one_sentence_and_names_its_log(tmp_path, capsys):
    log = tmp_path / "setup.log"
    with pytest.raises(SetupError, match=r"no ready-made build .*\(log: .*setup.log\)"):
        run_step("1/1 failing", [sys.executable, "-c", "exit('Failed to build x')"], log)
    assert "failed" in capsys.readouterr().out
    assert "Failed to build x" in log.read_text()


def test_half_an_environment_is_never_used(empty_home, monkeypatch):
    environment.folder().mkdir(parents=True)
    (environment.folder() / "rubbish").touch()
    assert not environment.is_complete()
    seen = []

    def fail(label, command):
        seen.append((environment.folder() / "rubbish").exists())
        raise SetupError("no")

    monkeypatch.setattr(environment, "step", fail)
    with pytest.raises(SetupError):
        environment.ensure()
    assert seen == [False] and not environment.folder().exists()


def test_other_packages_mean_another_environment(empty_home, monkeypatch, tmp_path):
    before = environment.folder()
    other = tmp_path / "packages.txt"
    other.write_text("torch==9")
    monkeypatch.setattr(environment, "PACKAGES", other)
    assert environment.folder() != before


def test_a_lock_waits_for_its_holder(tmp_path):
    path = tmp_path / "lock"
    code = (
        f"import sys; sys.path.insert(0, {str(environment.SCRIPTS)!r}); import environment\n"
        f"with environment.locked({str(path)!r}): print('mine')"
    )
    with environment.locked(path):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert "waiting for it" in other.stdout.readline()
    assert other.communicate(timeout=30)[0].strip() == "mine"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("find_spec", lambda name: None, "install its venv package"),
        ("FREE_GB", 10**9, "free some space"),
    ],
)
def test_what_set_up_needs_is_asked_first(empty_home, monkeypatch, name, value, sentence):
    monkeypatch.setattr(environment, name, value)
    with pytest.raises(SetupError, match=sentence):
        environment.ensure()


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESTOREFLOW_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(SetupError, match="set RESTOREFLOW_HOME to a folder"):
        environment.ensure()


def test_a_taken_port_is_said():
    taken = comfyui.socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(SetupError, match="choose another with --port"):
        comfyui.free_port(taken.getsockname()[1])
    with pytest.raises(SetupError, match="choose another with --port"):
        comfyui.free_port(99999)


def test_a_users_comfyui_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SetupError, match="holds no main.py"):
        comfyui.users_source()
    (tmp_path / "main.py").touch()
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert comfyui.find() == (tmp_path.resolve(), python.resolve())


def test_a_host_that_lacks_a_package_says_which(monkeypatch, tmp_path):
    (tmp_path / "main.py").write_text("import a_package_that_nobody_has")
    (tmp_path / "input").mkdir()
    installation = comfyui.Installation(tmp_path, comfyui.Path(sys.executable))
    with pytest.raises(SetupError, match="lacks the package a_package_that_nobody_has"):
        comfyui.Host(installation, tmp_path / "folder")


def test_a_host_ends_with_whoever_started_it(tmp_path):
    main = tmp_path / "main.py"
    main.write_text("import time; print('up', flush=True); time.sleep(60)")
    starter = environment.SCRIPTS / "host_process.py"
    process = subprocess.Popen(
        [sys.executable, starter, main], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == b"up"
    process.stdin.close()
    assert process.wait(10) == 0
