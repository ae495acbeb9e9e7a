"""`maskloop demo`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import click

from .. import quiet
from . import options


@click.command
@options.home
@click.option(
    "--studio-port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Port of Label Studio on this machine.  [default: a free one]",
)
@options.confidence_below
@click.option("--exit-when-ready", is_flag=True, help="Stop everything as soon as all tasks have their masks.")
@options.json_output
def command(home: Path, studio_port: int, below: float, exit_when_ready: bool, as_json: bool) -> None:
    """See the whole loop on drawn street scenes, in a real Label Studio.

    Draws scenes, trains an FCN-8s on them (about a minute on two cores), installs Label Studio into a virtual
    environment of its own, starts it on this machine, uploads new scenes and connects the model. Prints an address and a
    login, and runs until Ctrl-C. A second run uses what the first one made. Nothing is sent to other machines.

    With --json, the last line on stdout is {"url", "project", "tasks", "tasks_with_predictions", "model_version",
    "holdout_miou"}.
    """
    quiet.import_keras()
    from ..demo import run
    from ..serving import logs
    from ..training.progress import TerminalProgress
    from .progress import bar

    stop = threading.Event()

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def ask_to_stop(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # like Ctrl-C, so that Label Studio is stopped on the way out
    signal.signal(signal.SIGTERM, interrupt)
    logs.configure(file=home / "demo" / "backend.log")
    with run.running(
        home,
        studio_port=studio_port,
        below=below,
        say=lambda line: click.echo(line, err=True),
        training=TerminalProgress,
        retrieval=lambda: bar("tasks"),
    ) as demo:
        lacking = demo.tasks - demo.tasks_with_predictions
        lack = f"{lacking} of {demo.tasks} tasks have no masks; {home / 'demo' / 'backend.log'} says why"
        if as_json:
            click.echo(run.as_json(demo))
        else:
            click.echo(
                f"\n  {demo.url}\n  login {demo.email}   password {demo.password}\n\n"
                f"{demo.tasks_with_predictions} of {demo.tasks} tasks have masks drawn by {demo.model_version} "
                f"(mean IoU {demo.holdout_miou:.3f} on scenes it never saw).\n"
                "Press 'Label All Tasks' and correct them. Ctrl-C stops everything."
            )
        if not exit_when_ready:
            if lacking:
                click.echo(f"warning: {lack}", err=True)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, ask_to_stop)
            stop.wait()
            click.echo("Stopping Label Studio and the backend", err=True)
        elif lacking:
            raise click.ClickException(lack)
