"""How Label Studio's process is started and ended, with a small program in its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskloop_backend.studio.local import LocalStudio, LocalStudioError

# Answers /health, notes how it was started, and lets go of its pipe, given by number, only when it ends.
PROGRAM = """#!{python}
import http.server, json, os, sys
if os.environ.get("FAIL"):
    sys.exit("no such database")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
with open(os.environ["NOTE"], "w") as note:
    json.dump({{"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid()}}, note)
fifo = os.open(os.environ["FIFO"], os.O_WRONLY)
port = int(sys.argv[sys.argv.index("-p") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "venv/bin/label-studio"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("MASKLOOP_STUDIO_VENV", str(tmp_path / "venv"))
    monkeypatch.setenv("NOTE", str(tmp_path / "note.json"))
    monkeypatch.setenv("FIFO", str(tmp_path / "fifo"))
    return tmp_path


def ended(reader: int) -> bool:
    """Wait until the program has let go of the pipe."""
    return os.read(reader, 1) == b""


def reader(folder: Path) -> int:
    descriptor = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def test_it_runs_until_it_is_stopped_and_shows_no_secret_on_its_command_line(venv: Path) -> None:
    pipe = reader(venv)
    with LocalStudio(venv / "data") as studio:
        assert studio.running
        note = json.loads((venv / "note.json").read_text())
        assert not {studio.password, studio.token} & set(note["argv"])
        assert note["env"]["LABEL_STUDIO_PASSWORD"] == studio.password
        assert note["env"]["LABEL_STUDIO_USER_TOKEN"] == studio.token
    assert ended(pipe)
    os.close(pipe)
    assert not studio.running
    studio.stop()


def test_it_ends_when_maskloop_is_killed(venv: Path) -> None:
    pipe = reader(venv)
    code = (
        "import os, signal, sys; from pathlib import Path; from maskloop_backend.studio.local import LocalStudio; "
        "LocalStudio(Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(venv / "data")], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert ended(pipe)
    os.close(pipe)


def test_a_program_that_dies_is_an_error_with_its_last_lines(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    studio = LocalStudio(venv / "data")
    with pytest.raises(LocalStudioError, match=r"exit code 1 before it answered(.|\n)*no such database"):
        studio.start()
    assert not studio.running


def test_a_taken_port_is_named(venv: Path) -> None:
    pipe = reader(venv)
    with (
        LocalStudio(venv / "data") as studio,
        pytest.raises(LocalStudioError, match="is taken by another program"),
    ):
        LocalStudio(venv / "other", port=int(studio.url.rpartition(":")[2])).start()
    os.close(pipe)


def test_an_environment_that_lost_its_program(venv: Path) -> None:
    (venv / "venv/bin/label-studio").unlink()
    with pytest.raises(LocalStudioError, match="has no bin/label-studio"):
        LocalStudio(venv / "data").start()


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKLOOP_STUDIO_VENV", raising=False)
    theirs = tmp_path / "venv"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    with pytest.raises(LocalStudioError, match="holds something that maskloop did not make"):
        LocalStudio(tmp_path / "studio", venv=theirs).install()
    assert (theirs / "thesis.txt").read_text() == "years of work"
