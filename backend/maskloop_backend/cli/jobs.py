"""`maskloop jobs`: trainings in the background."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..loop.queue import JobQueue


class _Jobs(click.Group):
    """Says a damaged or locked file in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except sqlite3.Error as error:
            raise click.ClickException(
                f"jobs.sqlite3 of the home directory: {error}; if it stays so, stop all servers and move it away to start "
                "with an empty queue"
            ) from error


@click.group(cls=_Jobs, name="jobs", short_help="List, watch, start and cancel trainings in the background.")
def command() -> None:
    """List, watch, start and cancel the trainings that `maskloop serve` does in the background."""


@command.command("list")
@options.home
@options.json_output
def list_jobs(home: Path, as_json: bool) -> None:
    """List the jobs, the newest first."""
    from ..loop.worker import describe

    queue = _queue(home)
    jobs = [describe(queue, job) for job in queue.jobs()]
    if as_json:
        click.echo(json.dumps(jobs, ensure_ascii=False))
        return
    if not jobs:
        click.echo("No jobs yet; Label Studio's Start Training and `maskloop jobs start` make one.", err=True)
    for job in jobs:
        line = (f"{job['id']:4}", f"{job['state']:9}", f"project {job['project']}", _local(job["enqueued"]), _told(job))
        click.echo("  ".join(line))


@command.command()
@click.argument("job", type=int)
@options.home
@options.json_output
def show(job: int, home: Path, as_json: bool) -> None:
    """Show what is known of a JOB."""
    from ..loop.worker import describe

    queue = _queue(home)
    found = describe(queue, queue.job(job))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for key, value in found.items():
        if value is not None:
            click.echo(f"{key:11}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@command.command()
@click.argument("job", type=int)
@options.home
def log(job: int, home: Path) -> None:
    """Print the log of a JOB."""
    from ..loop.worker import LOG_BYTES, log_tail

    queue = _queue(home)
    queue.job(job)
    click.echo(log_tail(queue.directory(job), LOG_BYTES), nl=False)


@command.command()
@click.argument("job", type=int)
@options.home
def cancel(job: int, home: Path) -> None:
    """Cancel a JOB; a training that runs writes its checkpoint and ends. What is served stays."""
    from ..loop.worker import stop_trainings

    queue = _queue(home)
    if queue.cancel(job).state == "running":
        click.echo(f"job {job} stops as soon as its training has written its checkpoint", err=True)
        # of a server that is gone; one that runs does it itself
        stop_trainings(queue)
    click.echo(f"job {job} is {queue.job(job).state}", err=True)


@command.command()
@click.option("--project", required=True, metavar="ID|TITLE", help="The Label Studio project.")
@options.studio_url
@options.studio_token
@options.home
def start(project: str, studio_url: str, studio_token: str | None, home: Path) -> None:
    """Have a project trained in the background, as Label Studio's Start Training does."""
    from ..loop.worker import working

    number = options.project_id(project, studio_url, studio_token)
    assert number is not None
    job = _queue(home).start(number, "maskloop jobs start")
    click.echo(job.id)
    with working(home) as nobody:
        if nobody:
            click.echo("no `maskloop serve` trains in this home now: the job begins when one does", err=True)


def _queue(home: Path) -> JobQueue:
    from ..loop.queue import JobQueue

    return JobQueue(home)


def _told(job: dict[str, Any]) -> str:
    """Return what matters most about a job, in a few words."""
    progress, result = job["progress"], job["result"]
    if progress:
        return f"{progress['phase']} {progress['step']}/{progress['steps']}"
    if isinstance(result, dict):
        left_out = [str(note) for note in result.get("notes") or () if str(note).startswith("left out")]
        return "; ".join([str(result.get("reason") or result.get("version") or ""), *left_out])
    return str(job["error"] or job["waits_for"] or job["reason"])


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
