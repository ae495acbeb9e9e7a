"""A real Label Studio on this machine: installed once into its own virtual environment, started on loopback, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from maskloop_converters.errors import MaskloopError

# In a folder that may be removed and made anew.
_OURS = ".made-by-maskloop"
STUDIO_VERSION = "1.23.2"
# Its first start makes the database: one to two minutes on two cores.
START_SECONDS = 600.0
STOP_SECONDS = 15.0
# No calls to other hosts, no error reports; backends on this machine are allowed.
_ENVIRONMENT = {
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "FEATURE_FLAGS_OFFLINE": "true",
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
}


# Runs a program and ends it when standard input ends: that is when maskloop is gone, even by kill -9.
_GUARD = """
import os, signal, subprocess, sys, threading
program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, lambda *_: program.terminate())
def watch():
    os.read(0, 1)
    program.terminate()
    try:
        program.wait(float(sys.argv[1]))
    except subprocess.TimeoutExpired:
        pass
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
code = program.wait()
sys.exit(code if code >= 0 else 128 - code)
"""


class LocalStudioError(MaskloopError):
    """Label Studio could not be installed or started; the message ends with the last lines of its log."""


class LocalStudio:
    """Installs, starts and stops a Label Studio; a context manager.

    Data, log and login are kept in ``directory`` and used again by the next start.

    Args:
        directory: where it keeps its data; made if it is not there.
        port: to listen on, 0 picks a free one.
        venv: the virtual environment with Label Studio in it; made when it is not there. The variable
            ``MASKLOOP_STUDIO_VENV`` names one that is there already, and wins.
        local_files: a directory whose files Label Studio may serve as /data/local-files/?d=..., None for none.
        environment: more environment variables for Label Studio.
        say: called with one line whenever something that takes long begins.
    """

    email = "admin@example.com"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        venv: Path | None = None,
        local_files: Path | None = None,
        environment: dict[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.directory = directory
        self.log = directory / "label-studio.log"
        given = os.environ.get("MASKLOOP_STUDIO_VENV")
        self._venv = Path(given or venv or directory / "venv")
        self._venv_is_given = bool(given)
        self._port = port
        self._local_files = local_files
        self._environment = environment or {}
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file: IO[bytes] | None = None
        self.password = ""
        self.token = ""

    @property
    def url(self) -> str:
        """Where it answers, without a trailing slash; valid once it was started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_group(self) -> int:
        """Id of the group of its processes, 0 where it does not run."""
        return self._process.pid if self._process is not None else 0

    def install(self) -> None:
        """Install Label Studio into its virtual environment, once; an install that was cut short is done again.

        Raises:
            LocalStudioError: pip failed (its last lines are in the message), or the folder holds something else.
        """
        if self._venv_is_given:
            if not (self._venv / "bin/label-studio").exists():
                raise LocalStudioError(
                    f"MASKLOOP_STUDIO_VENV={self._venv} has no bin/label-studio; unset it to install one"
                )
            return
        # written last: without it, the install was cut short
        marker = self._venv / f".label-studio-{STUDIO_VERSION}"
        if marker.exists():
            return
        # what was cut short, or is of another Label Studio, goes; what maskloop did not make stays
        ours = self._venv / _OURS
        if self._venv.exists() and not ours.exists() and any(self._venv.iterdir()):
            raise LocalStudioError(
                f"{self._venv} holds something that maskloop did not make; move it away, or give another --home"
            )
        self._say(f"Installing Label Studio {STUDIO_VERSION} into {self._venv} (once, about 500 MB)")
        shutil.rmtree(self._venv, ignore_errors=True)
        self._venv.mkdir(parents=True)
        ours.touch()
        for command in (
            [sys.executable, "-m", "venv", str(self._venv)],
            [str(self._venv / "bin/python"), "-m", "pip", "install", "--quiet", f"label-studio=={STUDIO_VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LocalStudioError(
                    f"installing Label Studio failed (`{' '.join(command[-4:])}`): {_last_lines(done.stderr or done.stdout)}"
                )
        marker.touch()

    def start(self) -> LocalStudio:
        """Install if need be, start, and wait until it answers.

        Raises:
            LocalStudioError: it could not be installed, died, or did not answer in time.
        """
        self.install()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._load_login()
        if self._port == 0:
            self._port = _free_port()
        elif not _is_free(self._port):
            raise LocalStudioError(f"port {self._port} is taken by another program; choose another one")
        first = not (self.directory / "data" / "label_studio.sqlite3").exists()
        self._say("Starting Label Studio" + (" (the first start makes its database: a minute or two)" if first else ""))
        if not (self._venv / "bin" / "label-studio").exists():
            raise LocalStudioError(
                f"{self._venv} has no bin/label-studio any more; delete that folder and it is installed again"
            )
        self._log_file = self.log.open("wb")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _GUARD, str(STOP_SECONDS), *self._command()],
                env=self._process_environment(),
                stdin=subprocess.PIPE,
                stdout=self._log_file,
                stderr=subprocess.STDOUT,
                # its own process group: Ctrl-C reaches maskloop alone, which then stops it in order
                start_new_session=True,
            )
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it and everything it started; safe to call at any time."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                    break
            if process.stdin is not None:
                process.stdin.close()
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None

    def __enter__(self) -> LocalStudio:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _command(self) -> list[str]:
        return [
            str(self._venv / "bin" / "label-studio"),
            *("start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(self._port)),
            *("--data-dir", str(self.directory / "data"), "--log-level", "INFO"),
            "--enable-legacy-api-token",
        ]

    def _process_environment(self) -> dict[str, str]:
        environment = {**os.environ, **_ENVIRONMENT}
        if self._local_files is not None:
            environment["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] = "true"
            environment["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(self._local_files)
        # not on the command line, which every user of the machine can read
        environment["LABEL_STUDIO_USERNAME"] = self.email
        environment["LABEL_STUDIO_PASSWORD"] = self.password
        environment["LABEL_STUDIO_USER_TOKEN"] = self.token
        return {**environment, **self._environment}

    def _load_login(self) -> None:
        """Read the login of this directory, or make one; the file is readable by its owner only."""
        path = self.directory / "login.json"
        if not path.exists():
            login = {"password": secrets.token_urlsafe(12), "token": secrets.token_hex(20)}
            aside = path.with_suffix(".writing")
            aside.unlink(missing_ok=True)
            aside.touch(mode=0o600)
            aside.write_text(json.dumps(login), encoding="utf-8")
            aside.replace(path)
        login = json.loads(path.read_text(encoding="utf-8"))
        self.password, self.token = login["password"], login["token"]

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LocalStudioError(
                    f"Label Studio ended with exit code {self._process.returncode} before it answered. Its log, {self.log}, "
                    f"ends with:\n{_last_lines(self.log.read_text(errors='replace'))}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.5)
        raise LocalStudioError(
            f"Label Studio did not answer at {self.url} within {START_SECONDS:.0f} s. Its log, {self.log}, ends with:\n"
            f"{_last_lines(self.log.read_text(errors='replace'))}"
        )


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
