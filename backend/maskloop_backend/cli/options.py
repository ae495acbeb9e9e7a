"""Options that several commands share, declared once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..studio.login import BackendLogin

home = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MASKLOOP_HOME",
    default=Path.home() / ".maskloop",
    show_default="~/.maskloop",
    show_envvar=True,
    help="The directory where maskloop keeps models, caches and jobs.",
)

json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")

# Where Label Studio answers unless it is told otherwise.
STUDIO_URL = "http://localhost:8080"

studio_url = click.option(
    "--studio-url",
    envvar="MASKLOOP_STUDIO_URL",
    default=STUDIO_URL,
    show_default=True,
    show_envvar=True,
    help="Where Label Studio answers.",
)

studio_public_url = click.option(
    "--studio-public-url",
    envvar="MASKLOOP_STUDIO_PUBLIC_URL",
    show_envvar=True,
    metavar="URL",
    show_default="--studio-url",
    help="What people's browsers call Label Studio, for links to tasks; in Docker and behind a proxy it is another address "
    "than --studio-url.",
)

studio_token = click.option(
    "--studio-token",
    envvar="MASKLOOP_STUDIO_TOKEN",
    show_envvar=True,
    help="A Label Studio personal access token or legacy token (Account & Settings). Better in the variable than here.",
)

served_project = click.option(
    "--project",
    metavar="ID|TITLE",
    help="The Label Studio project whose version this is about; a title is looked up in Label Studio. Without it: the "
    "default, which all projects without a version of their own are served.",
)

allow_hosts = click.option(
    "--allow-hosts",
    multiple=True,
    metavar="HOST,...",
    envvar="MASKLOOP_ALLOW_HOSTS",
    show_envvar=True,
    help="Fetch images from these hosts and Label Studio only: names, '*.example.com', 'minio:9000', '10.1.0.0/16', "
    "separated by commas; '*' is every public one. Default: from every host that stands in a task.",
)

deny_private = click.option(
    "--deny-private/--no-deny-private",
    default=False,
    show_default=True,
    envvar="MASKLOOP_DENY_PRIVATE",
    show_envvar=True,
    help="Fetch no images from private networks and this machine, unless --allow-hosts names the host. The Docker image "
    "sets it.",
)

confidence_below = click.option(
    "--confidence-below",
    "below",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.5,
    show_default=True,
    metavar="P",
    envvar="MASKLOOP_CONFIDENCE_BELOW",
    show_envvar=True,
    help="Leave pixels unlabelled where the model is less sure than P (0..1); 0 claims every pixel. What it costs and saves: "
    "docs/confidence.md.",
)

edges = click.option(
    "--edges/--no-edges",
    default=False,
    show_default=True,
    envvar="MASKLOOP_EDGES",
    show_envvar=True,
    help="Move the borders of masks to the edges of their image, where those are a few pixels away: on street images 4 % less "
    "to correct, for 20 ms an image of 360 x 480.",
)

backend_user = click.option(
    "--basic-auth-user",
    "backend_user",
    envvar="MASKLOOP_BASIC_AUTH_USER",
    show_envvar=True,
    help="User of the backend's basic auth; the password is in MASKLOOP_BASIC_AUTH_PASSWORD.",
)


def project_id(project: str | None, studio_url: str, studio_token: str | None) -> int | None:
    """Return a project's id, looked up in Label Studio where its title was given; None for None."""
    if project is None:
        return None
    if project.isascii() and project.isdecimal():
        return int(project)
    from ..studio.client import StudioClient

    with StudioClient(studio_url, required_token(studio_token)) as client:
        return int(client.project(project)["id"])


def required_token(token: str | None) -> str:
    """Return the token, or say where one comes from."""
    if not token:
        raise click.UsageError(
            "a Label Studio token is missing: copy one from Account & Settings into MASKLOOP_STUDIO_TOKEN"
        )
    return token


def backend_login(user: str | None) -> BackendLogin | None:
    """Return the backend's credentials from the option and the environment, None where none were given."""
    from ..studio.login import BackendLogin

    password = os.environ.get("MASKLOOP_BASIC_AUTH_PASSWORD")
    if not user:
        if password:
            raise click.UsageError(
                "MASKLOOP_BASIC_AUTH_PASSWORD is set, the user is not: give --basic-auth-user as well"
            )
        return None
    if not password:
        raise click.UsageError("--basic-auth-user needs the password in MASKLOOP_BASIC_AUTH_PASSWORD")
    return BackendLogin(user, password)


def say_why_none(have: int, tasks: int, reasons: tuple[str, ...]) -> None:
    """Say why tasks have no prediction; where none has one, end the command with 1."""
    if have >= tasks:
        return
    for reason in reasons:
        click.echo(f"no prediction: {reason}", err=True)
    if not reasons:
        click.echo("the backend's log says why the others have none", err=True)
    if not have:
        raise SystemExit(1)
