"""`maskloop live`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command
@click.argument("state", type=click.Choice(["on", "off", "status"]))
@options.home
def command(state: str, home: Path) -> None:
    """Turn live versions off and on, without a restart.

    `maskloop serve --live` refits the model's last layers after each submit, for each project, and answers with that live
    version ('<version>+live-<N>' in Label Studio). Off: running servers of this home drop their live versions within a second,
    answer with the served version again, and refit nothing. On: the next submit makes a new one.

    What the gate promotes is not concerned. Predictions of live versions that Label Studio has stored stay with their tasks
    until they are deleted there; tasks opened from now on are asked for anew.

    \b
    maskloop live off
    maskloop live on
    """
    from ..serving.live import switch, switched_on

    if state != "status":
        home.mkdir(parents=True, exist_ok=True)
        switch(home, on=state == "on")
    click.echo(f"live versions are {'on' if switched_on(home) else 'off'} for servers of {home} started with --live")
