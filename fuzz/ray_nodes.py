"""A Ray cluster of two nodes on loopback addresses, each a process group of its own that may be killed and started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_HEAD, _WORKER = "127.0.0.2", "127.0.0.3"
# In the environment of all processes of a node, their children included.
_MARK = "MASKLOOP_FAULTS_NODE"
_SECONDS, _TRIES = 300, 3


class Nodes:
    """The cluster: a head, and a worker node that dies.

    Args:
        folder: for Ray's own files; its path is short, as sockets lie in it.
        log: what starting nodes says.
        environment: of the nodes, with what workers import the packages by.
    """

    def __init__(self, folder: Path, log: Path, environment: dict[str, str]) -> None:
        self._folder, self._log = folder, log
        self._run = secrets.token_hex(8)
        self._head = f"{_HEAD}:{_free_port(_HEAD)}"
        self.environment = {
            **environment,
            "RAY_USAGE_STATS_ENABLED": "0",
            # a token of its own: what other clusters of this user ask for does not matter
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # a node that died is missed within seconds; one that computes is not taken for dead
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "10000",
            "RAY_health_check_failure_threshold": "3",
        }

    @property
    def address(self) -> str:
        """Where drivers find the cluster."""
        return self._head

    def __enter__(self) -> Nodes:
        try:
            self._start("head", *self._of_head())
            self.start_worker()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in ("worker", "head"):
            while left := self.processes(name):
                _kill(left)

    def _of_head(self) -> list[str]:
        port, client = self._head.rpartition(":")[2], str(_free_port(_HEAD))
        return ["--head", "--node-ip-address", _HEAD, "--port", port, "--ray-client-server-port", client,
                "--include-dashboard", "false", "--temp-dir", str(self._folder)]  # fmt: skip

    def start_worker(self) -> None:
        """Start the worker node."""
        self._start("worker", "--address", self._head, "--node-ip-address", _WORKER)

    def kill_worker_node(self) -> None:
        """Kill the worker node: its raylet and all that it started."""
        while left := self.processes("worker"):
            _kill(left)

    def workers(self) -> list[int]:
        """Return the processes that label, of both nodes."""
        found = []
        for process in self.processes("head") + self.processes("worker"):
            with contextlib.suppress(OSError):
                if (Path("/proc") / str(process) / "cmdline").read_bytes().startswith(b"ray::_Actor"):
                    found.append(process)
        return found

    def processes(self, name: str) -> list[int]:
        """Return the processes of a node."""
        mark = f"{_MARK}={self._run}-{name}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def _start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, "--num-cpus", "1"]
        command += ["--object-store-memory", str(100 << 20), "--disable-usage-stats"]
        environment = {**self.environment, _MARK: f"{self._run}-{name}"}
        with self._log.open("ab") as out:
            # on a machine that has much to do Ray gives up on itself
            for _ in range(_TRIES):
                if not subprocess.run(command, env=environment, stdout=out, stderr=out, timeout=_SECONDS).returncode:
                    return
                while left := self.processes(name):
                    _kill(left)
        raise SystemExit(f"a node of Ray does not start: {self._log}")


def _free_port(host: str) -> int:
    with socket.socket() as asked:
        asked.bind((host, 0))
        return int(asked.getsockname()[1])


def _kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    time.sleep(0.05)
