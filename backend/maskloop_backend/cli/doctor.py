"""`maskloop doctor`."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from . import options


@click.command
@click.option(
    "--project", metavar="ID|TITLE", help="The Label Studio project; without it only Label Studio is examined."
)
@options.studio_url
@options.studio_token
@options.backend_user
@options.json_output
def command(
    project: str | None, studio_url: str, studio_token: str | None, backend_user: str | None, as_json: bool
) -> None:
    """Find what is wrong between Label Studio and the backend; say the fix.

    Exit code 1 when a problem was found, 0 when there are at most warnings.
    """
    from ..studio.client import StudioClient
    from ..studio.doctor import examine

    findings = []
    login = options.backend_login(backend_user)
    with StudioClient(studio_url, options.required_token(studio_token)) as client:
        for finding in examine(client, project, login=login):
            findings.append(finding)
            if not as_json:
                color = {"ok": "green", "warning": "yellow", "problem": "red"}[finding.level]
                click.echo(f"{click.style(f'{finding.level:8}', fg=color)} {finding.subject}: {finding.message}")
                if finding.fix:
                    click.echo(f"         fix: {finding.fix}")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    if any(finding.level == "problem" for finding in findings):
        sys.exit(1)
