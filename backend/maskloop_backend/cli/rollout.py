"""`maskloop rollout`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from .. import quiet
from . import options


@click.command
@click.argument("project", metavar="PROJECT")
@click.argument("version", required=False)
@click.option(
    "--promote", is_flag=True, help="Have the backend serve VERSION to this project first; the others keep theirs."
)
@click.option("--remove-old", is_flag=True, help="Delete other versions' predictions of tasks that nobody annotated.")
@options.studio_url
@options.studio_token
@options.backend_user
@options.home
@options.json_output
def command(
    project: str,
    version: str | None,
    promote: bool,
    remove_old: bool,
    studio_url: str,
    studio_token: str | None,
    backend_user: str | None,
    home: Path,
    as_json: bool,
) -> None:
    """Move the Label Studio PROJECT (id or title) to a model VERSION, and back.

    Without VERSION it is the one that the backend serves to the project. Predictions are fetched for tasks without an annotation, anew
    where they were made for another label config; the order of uncertainty sampling follows the version's scores.
    Annotations are never touched. Exits with 1 where no task gets a prediction, with the first reasons.

    \b
    maskloop rollout "Street scenes"                                         after a promotion
    maskloop rollout 7 fcn32s-small-20261123-1a2b3c4d --promote              promote it, and show it
    maskloop rollout 7 fcn32s-small-20261101-5e6f7a8b --promote              and back
    """
    from ..loop.in_use import lost
    from ..registry import Registry
    from ..studio.client import StudioClient
    from ..studio.rollout import rollout
    from .progress import bar

    def change(name: str, number: int) -> None:
        registry = Registry(home)
        for line in lost(registry, number, registry.record(name).labels):
            click.echo(f"warning: {line}", err=True)
        quiet.import_keras()
        registry.promote(name, project=number, reason=f"rollout of project {project}")

    login = options.backend_login(backend_user)
    with StudioClient(studio_url, options.required_token(studio_token)) as client, bar("predictions") as progress:
        done = rollout(
            client,
            project,
            version,
            promote=change if promote else None,
            login=login,
            remove_old=remove_old,
            home=home,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
        raise SystemExit(int(done.tasks > 0 and not done.tasks_with_predictions))
    if done.renewed:
        click.echo(f"predictions of {done.renewed} tasks, made for another label config, fetched anew", err=True)
    if done.removed:
        click.echo(f"{done.removed} predictions of other versions deleted", err=True)
    click.echo(
        f"project {done.project} shows masks of {done.model_version}: "
        f"{done.tasks_with_predictions} of {done.tasks} tasks that wait for an annotation have predictions"
    )
    options.say_why_none(done.tasks_with_predictions, done.tasks, done.reasons)
