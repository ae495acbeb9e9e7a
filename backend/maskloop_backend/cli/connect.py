"""`maskloop connect`."""

from __future__ import annotations

import dataclasses
import json

import click

from . import options


@click.command
@click.option("--project", required=True, metavar="ID|TITLE", help="The Label Studio project.")
@click.option(
    "--backend-url",
    default="http://127.0.0.1:9090",
    show_default=True,
    envvar="MASKLOOP_BACKEND_URL",
    show_envvar=True,
    help="Where Label Studio reaches `maskloop serve`; in Docker the service's name, not localhost.",
)
@options.studio_url
@options.studio_token
@options.backend_user
@click.option("--smart-tools", is_flag=True, help="Offer the model in the editor: a click gives the part under it.")
@click.option("--replace", is_flag=True, help="Remove the project's connections to other backends; predictions stay.")
@click.option("--retrieve/--no-retrieve", default=True, show_default=True, help="Fetch predictions for all tasks now.")
@options.json_output
def command(
    project: str,
    backend_url: str,
    studio_url: str,
    studio_token: str | None,
    backend_user: str | None,
    smart_tools: bool,
    replace: bool,
    retrieve: bool,
    as_json: bool,
) -> None:
    """Register the backend in a Label Studio project, the right way.

    Sets the connection's title to the model version (Label Studio's uncertainty sampling needs that), gives the webhook
    the backend's credentials, removes duplicates, and retrieves predictions. Running it again puts right what was changed,
    and fetches predictions anew that were made for another label config. It says what of the label config does not fit the
    model; a config that cannot be pre-filled is refused, and exits with 1, as does a project none of whose tasks gets a
    prediction, with the first reasons.

    \b
    maskloop connect --project "Street scenes"
    maskloop connect --project 7 --backend-url http://backend:9090 --studio-url http://studio:8080
    """
    from ..studio.client import StudioClient
    from ..studio.connect import connect
    from .progress import bar

    login = options.backend_login(backend_user)
    with StudioClient(studio_url, options.required_token(studio_token)) as client, bar("predictions") as progress:
        done = connect(
            client,
            project,
            backend_url,
            login=login,
            interactive=smart_tools,
            replace=replace,
            retrieve=retrieve,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
        raise SystemExit(int(retrieve and done.tasks > 0 and not done.tasks_with_predictions))
    for line in (*done.changes, *done.notes):
        click.echo(line, err=True)
    click.echo(
        f"project {done.project} shows masks of {done.model_version}: "
        f"{done.tasks_with_predictions} of {done.tasks} tasks have predictions"
    )
    if retrieve:
        options.say_why_none(done.tasks_with_predictions, done.tasks, done.reasons)
