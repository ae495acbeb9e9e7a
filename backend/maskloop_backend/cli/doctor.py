"""`maskloop doctor`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import quiet
from . import options

if TYPE_CHECKING:
    from ..studio.doctor import Finding


@click.command
@click.option(
    "--project", metavar="ID|TITLE", help="The Label Studio project; without it only Label Studio is examined."
)
@click.option(
    "--runtime",
    "of_runtime",
    is_flag=True,
    help="Only measure what `maskloop serve` would run the served version with on this machine, and say why; Label Studio is "
    "not asked.",
)
@options.home
@options.studio_url
@options.studio_token
@options.backend_user
@options.json_output
def command(
    project: str | None,
    of_runtime: bool,
    home: Path,
    studio_url: str,
    studio_token: str | None,
    backend_user: str | None,
    as_json: bool,
) -> None:
    """Find what is wrong between Label Studio and the backend; say the fix.

    Exit code 1 when a problem was found, 0 when there are at most warnings.
    """
    findings = []
    found = [_runtime(home)] if of_runtime else _of_studio(project, studio_url, studio_token, backend_user)
    for finding in found:
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


def _of_studio(
    project: str | None, studio_url: str, studio_token: str | None, backend_user: str | None
) -> Iterator[Finding]:
    from ..studio.client import StudioClient
    from ..studio.doctor import examine

    login = options.backend_login(backend_user)
    with StudioClient(studio_url, options.required_token(studio_token)) as client:
        yield from examine(client, project, login=login)


def _runtime(home: Path) -> Finding:
    """Measure as the server does when it loads a model."""
    from ..registry import Registry
    from ..studio.doctor import Finding

    registry = Registry(home)
    version = registry.serving()
    if version is None:
        return Finding("problem", "runtime", f"no version is served in {home}", "`maskloop models promote VERSION`")
    quiet.import_keras()
    from ..inference.runtimes.choosing import choose

    choice = choose(registry.load(version))
    return Finding("ok", "runtime", f"{version}: {choice.runtime.name}, {choice.runtime.precision}: {choice.reason}")
