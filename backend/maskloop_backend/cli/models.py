"""`maskloop models`: list, show, check and choose model versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..registry import Registry
from . import options


@click.group(name="models", short_help="List and show the model versions, choose the one that is served.")
def command() -> None:
    """List, show and check the model versions, and choose the one that is served."""


@command.command("list")
@options.home
@options.json_output
def list_versions(home: Path, as_json: bool) -> None:
    """List the versions, oldest first; the one that is served has a star."""
    rows = Registry(home).summary()
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"No model versions in {home / 'models'} yet; `maskloop train` makes one.", err=True)
    for row in rows:
        star = "*" if row["serving"] else " "
        if "error" in row:
            click.echo(f"{star} {row['version']}  {row['error']}")
        else:
            classes = f"{len(row['labels'])} classes"
            click.echo("  ".join(filter(None, [f"{star} {row['version']}", row["created"], classes, _metrics(row)])))


@command.command()
@click.argument("version")
@options.home
@options.json_output
def show(version: str, home: Path, as_json: bool) -> None:
    """Show what is known of a VERSION."""
    record = Registry(home).record(version).to_json()
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    names = [label["name"] for label in record["labels"]["labels"]]
    for key, value in {**record, "labels": names}.items():
        click.echo(f"{key:17}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@command.command()
@click.argument("version")
@click.option("--reason", default="", help="Why, for the history.")
@options.home
def promote(version: str, reason: str, home: Path) -> None:
    """Make VERSION the one that `maskloop serve` serves, after checking its weights; a server that runs follows."""
    Registry(home).promote(version, reason=reason)
    click.echo(f"{version} is served from now on.", err=True)


@command.command()
@click.option("--reason", default="", help="Why, for the history.")
@options.home
def rollback(reason: str, home: Path) -> None:
    """Serve again what was served before; a second rollback goes further back."""
    click.echo(f"{Registry(home).rollback(reason=reason)} is served from now on.", err=True)


@command.command()
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@options.home
@options.json_output
def verify(versions: tuple[str, ...], home: Path, as_json: bool) -> None:
    """Check the weights and records of each VERSION, of all without one; exit 1 when one is damaged."""
    problems = Registry(home).check(list(versions))
    if as_json:
        click.echo(json.dumps(problems, ensure_ascii=False))
    else:
        for version, problem in problems.items():
            click.echo(f"{version}  {problem or 'intact'}")
    if any(problems.values()):
        raise click.exceptions.Exit(1)


def _metrics(row: dict[str, Any]) -> str:
    """Return the numbers among a version's metrics, 'holdout_miou 0.812'."""
    numbers = {name: value for name, value in row["metrics"].items() if isinstance(value, float | int)}
    return "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
