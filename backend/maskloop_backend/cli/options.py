"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path

import click

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

studio_url = click.option(
    "--studio-url",
    envvar="MASKLOOP_STUDIO_URL",
    default="http://localhost:8080",
    show_default=True,
    show_envvar=True,
    help="Where Label Studio answers.",
)

studio_token = click.option(
    "--studio-token",
    envvar="MASKLOOP_STUDIO_TOKEN",
    show_envvar=True,
    help="A Label Studio personal access token or legacy token (Account & Settings). Better in the variable than here.",
)
