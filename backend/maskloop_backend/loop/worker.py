"""Runs the queue's trainings, one at a time, each as a child process that outlives this one.

A training holds a lock of the kernel as long as it lives: whoever comes after a killed server sees by it whether the
training still runs (it is waited for) or not (its result is read, or it is started again from its checkpoint).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..studio.addresses import AddressPolicy
from .queue import Job, JobQueue, State

logger = logging.getLogger("maskloop.loop")

COMMAND = (sys.executable, "-m", "maskloop_backend.cli.main")

LOG_FILE = "log"
PROGRESS_FILE = "progress.json"
_RESULT_FILE = "result.json"
_PID_FILE = "pid"
_LOCK_FILE = "lock"

# A log that grows over this keeps its last quarter.
LOG_BYTES = 4 << 20
# How often in a row a training is started that is killed, by the kernel for want of memory say, before a checkpoint is
# written. One that gets further is always started again: a machine that is shut down every night must not end it.
ATTEMPTS = 5

# What the training of a killed server may be found in; "$$" stays its number, for exec keeps it.
_SHELL = 'echo $$ > "$1"; shift; exec nice -n 10 "$@"'


class Studio(NamedTuple):
    """How a training reaches Label Studio.

    Attributes:
        url: without a trailing slash.
        token: legacy or personal access token.
        policy: of the addresses that may be asked; None for every one.
    """

    url: str
    token: str
    policy: AddressPolicy | None = None

    def __repr__(self) -> str:
        """Show no token."""
        return f"Studio(url={self.url!r})"


class Worker:
    """Starts what is due and waits for what runs.

    Only one process a home directory works at a time: the others leave it alone until that one has ended.

    Args:
        queue: of jobs.
        studio: tells how to reach the Label Studio of a project (its id), or why that is not known.
        effort: 'quick' or 'full', see `maskloop retrain`.
        command: what `retrain` and its options are appended to.
        grace: seconds from SIGTERM to SIGKILL of a cancelled training; it writes its checkpoint.
        interval: seconds between two looks at what runs.
        retry_delay: seconds after which a training that was killed is started again, the first time.
        rollout: want each promoted version shown in its project, see :meth:`JobQueue.rollouts`.
        finished: called with each job that is over.
    """

    def __init__(
        self,
        queue: JobQueue,
        studio: Callable[[int], Studio | str],
        *,
        effort: str = "quick",
        command: Sequence[str] = COMMAND,
        grace: float = 30.0,
        interval: float = 0.5,
        retry_delay: float = 5.0,
        rollout: bool = False,
        finished: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._queue = queue
        self._studio = studio
        self._effort = effort
        self._command = tuple(command)
        self._grace = grace
        self._interval = interval
        self._retry_delay = retry_delay
        self._rollout = rollout
        self._finished = finished
        self._child: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Work in a thread until :meth:`stop`."""
        self._thread = threading.Thread(target=self._loop, name="maskloop-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop working; a training that runs goes on, and the next worker waits for it."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            job = None
            # a damaged file must not keep anybody from stopping
            with contextlib.suppress(sqlite3.Error):
                job = self._queue.running()
            if job is not None:
                logger.info("training_goes_on job=%d", job.id)

    def wake(self) -> None:
        """Look at the queue now: something was enqueued or cancelled."""
        self._wake.set()

    def step(self) -> None:
        """Look once: end what has ended, stop what shall stop, start what is due. Needs :func:`working`."""
        if not self.settle():
            for due in self._queue.due():
                if self._begin(due):
                    break

    def settle(self) -> bool:
        """End what has ended and stop what shall stop; return whether a training still runs. Needs :func:`working`."""
        job = self._queue.running()
        if job is not None:
            self._look_after(job)
        return self._queue.running() is not None

    def _loop(self) -> None:
        while not self._stopping:
            with working(self._queue.home) as alone:
                while alone and not self._stopping:
                    self._wake.clear()
                    try:
                        self.step()
                    except (OSError, sqlite3.Error) as error:
                        # a full disk, a locked database: the queue is as it was, and this may pass
                        logger.error("jobs_failed error=%s", json.dumps(str(error)))
                        self._wake.wait(10 * self._interval)
                    self._wake.wait(self._interval)
            self._wake.wait(self._interval)

    def _begin(self, job: Job) -> bool:
        studio = self._studio(job.project)
        if isinstance(studio, str):
            if job.waits_for != studio:
                self._queue.waits(job.id, studio)
            return False
        self._queue.begin(job.id)
        self._kill_at = None
        try:
            self._child = self._spawn(job, studio)
        except OSError as error:
            self._end(job, "failed", error=f"the training could not be started: {error}")
            return False
        logger.info("job_started job=%d project=%d reason=%s", job.id, job.project, json.dumps(job.reason))
        return True

    def _spawn(self, job: Job, studio: Studio) -> subprocess.Popen[bytes]:
        directory = self._queue.directory(job.id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in (_RESULT_FILE, _PID_FILE, PROGRESS_FILE):
            (directory / stale).unlink(missing_ok=True)
        arguments = [
            *(*self._command, "retrain", "--project", str(job.project), "--resume", "--json"),
            # nobody is there to decide: what is gone is left out, counted, and said in the result
            *("--on-error", "skip", "--effort", self._effort, "--progress-file", str(directory / PROGRESS_FILE)),
            *("--home", str(self._queue.home)),
            *_address_options(studio.policy),
        ]
        environment = {**os.environ, "MASKLOOP_STUDIO_URL": studio.url, "MASKLOOP_STUDIO_TOKEN": studio.token}
        with contextlib.ExitStack() as files:
            lock = files.enter_context(_private(directory / _LOCK_FILE, os.O_RDWR))
            # the open file, and the lock with it, is the child's too: it stays locked until the child is gone
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            out = files.enter_context(_private(directory / _RESULT_FILE, os.O_WRONLY | os.O_TRUNC))
            log = files.enter_context(_private(directory / LOG_FILE, os.O_WRONLY | os.O_APPEND))
            return subprocess.Popen(
                ["/bin/sh", "-c", _SHELL, "sh", str(directory / _PID_FILE), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=environment,
                pass_fds=[lock],
                # a group of its own: Ctrl-C and the end of the server's terminal are not meant for it
                start_new_session=True,
            )

    def _look_after(self, job: Job) -> None:
        directory = self._queue.directory(job.id)
        if self._child is not None and self._child.poll() is None:
            alive = True
        else:
            # after the child of this process its own children may live on
            alive = (directory / _LOCK_FILE).exists() and _locked(directory / _LOCK_FILE)
        if alive:
            if job.cancel:
                self._stop_training(directory)
            _bound(directory / LOG_FILE)
            return
        status, self._child = (self._child.returncode if self._child else None), None
        result = _json(directory / _RESULT_FILE)
        if status in (0, None) and isinstance(result, dict):
            self._end(job, "done", result=result)
        elif job.cancel:
            self._end(job, "cancelled")
        elif status is not None and status not in (0, 130) and 0 < status < 128:
            self._end(job, "failed", error=_reason(directory / LOG_FILE) or f"the training ended with status {status}")
        elif status == 0:
            self._end(job, "failed", error="the training printed no result; its log says more")
        elif job.attempts >= ATTEMPTS and not _got_further(directory):
            how = f"killed by signal {-status}" if status is not None and status < 0 else "killed"
            self._end(job, "failed", error=f"the training was {how} {job.attempts} times; is there enough memory?")
        else:
            delay = self._retry_delay * 2 ** (job.attempts - 1) if status is not None else 0.0
            why = "its training was killed; it goes on from its checkpoint"
            self._queue.again(job.id, why, delay=delay, further=_got_further(directory))
            logger.warning("job_killed job=%d status=%s", job.id, status)

    def _stop_training(self, directory: Path) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace
            _signal(directory, signal.SIGTERM)
        elif time.monotonic() >= self._kill_at:
            _signal(directory, signal.SIGKILL)

    def _end(self, job: Job, state: State, *, error: str | None = None, result: Any = None) -> None:
        promoted = self._rollout and isinstance(result, dict) and result.get("promoted")
        version = result.get("version") if promoted else None
        for old in self._queue.finish(job.id, state, error=error, result=result, rollout=version):
            shutil.rmtree(self._queue.directory(old), ignore_errors=True)
        logger.info("job_over job=%d state=%s error=%s", job.id, state, json.dumps(error))
        self._finished(self._queue.job(job.id))


def _address_options(policy: AddressPolicy | None) -> list[str]:
    if policy is None or not policy.restricts:
        return []
    # what /setup said of Label Studio's address is not the operator's word
    return [*policy.arguments(), *([] if policy.own else ["--foreign-studio"])]


@contextmanager
def working(home: Path) -> Iterator[bool]:
    """Hold the only right to work on a home's jobs; give whether it was free. It is free again however this ends."""
    with _private(home / "jobs.lock", os.O_RDWR) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def stop_trainings(queue: JobQueue, *, interval: float = 0.1) -> None:
    """Wait until a cancelled training of a server that is gone has ended; where a server works, leave it to that one.

    Args:
        queue: of jobs.
        interval: seconds between two looks.
    """
    with working(queue.home) as alone:
        worker = Worker(queue, lambda project: "")
        while alone and (job := queue.running()) and job.cancel and worker.settle():
            time.sleep(interval)


def describe(queue: JobQueue, job: Job) -> dict[str, Any]:
    """Return a job as JSON values, with the progress of one that runs."""
    return {**job.to_json(), "progress": progress(queue.directory(job.id)) if job.state == "running" else None}


def progress(directory: Path) -> Mapping[str, Any] | None:
    """Return what a training says of its progress, None where it has not said anything yet.

    Args:
        directory: of the job.
    """
    found = _json(directory / PROGRESS_FILE)
    return found if isinstance(found, dict) else None


def _got_further(directory: Path) -> bool:
    """Return whether a training wrote a checkpoint beyond the one that it began with."""
    found = progress(directory) or {}
    return int(found.get("kept", 0)) > int(found.get("resumed", 0))


def log_tail(directory: Path, size: int = 1 << 16) -> str:
    """Return the end of a training's log, whole lines of at most ``size`` bytes; '' where there is none.

    Args:
        directory: of the job.
        size: bytes.
    """
    try:
        with (directory / LOG_FILE).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - size))
            data = file.read(size)
    except FileNotFoundError:
        return ""
    if end > size:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", "replace")


@contextmanager
def _private(path: Path, flags: int) -> Iterator[int]:
    """Open a file that only its owner may read, made where there is none."""
    handle = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(path: Path) -> bool:
    try:
        with _private(path, os.O_RDWR) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _signal(directory: Path, number: signal.Signals) -> None:
    """Send a signal to a training and its children; its lock is held, so that its number is nobody else's."""
    try:
        pid = int((directory / _PID_FILE).read_text())
    except (OSError, ValueError):
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _bound(path: Path) -> None:
    """Keep the last quarter of a log that has grown too long; lines written meanwhile may be lost."""
    if path.stat().st_size > LOG_BYTES:
        tail = log_tail(path.parent, LOG_BYTES // 4)
        # the training appends, so that it goes on at the new end
        with path.open("w", encoding="utf-8") as file:
            file.write(f"... the beginning of this log was dropped: it was over {LOG_BYTES} bytes\n{tail}")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _reason(log: Path) -> str | None:
    """Return why a training failed: the last line of its log."""
    lines = [line.strip() for line in log_tail(log.parent).splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ")[:1000] if lines else None
