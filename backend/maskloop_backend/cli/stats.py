"""`maskloop stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import options


@click.command
@click.option("--project", metavar="ID|TITLE", help="The Label Studio project; without it all of them together.")
@click.option("--weeks", default=26, show_default=True, type=click.IntRange(1, 1000), help="The newest so many weeks.")
@options.studio_url
@options.studio_token
@options.home
@options.json_output
def command(
    project: str | None, weeks: int, studio_url: str, studio_token: str | None, home: Path, as_json: bool
) -> None:
    """Tell what became of predictions: accepted unchanged, changed or rejected, by version, class and week.

    `maskloop serve` notes it when Label Studio's webhook tells of a submitted task (`maskloop connect` sets that up); a task
    that is submitted again counts once, as it was left. Skipped tasks do not count. The server's page shows the same as
    charts, and GET /stats as JSON.

    \b
    maskloop stats                                all projects of this home
    maskloop stats --project "Street scenes"      one; a title is looked up in Label Studio, an id is not
    maskloop stats --project 5 --json             for programs
    """
    from ..loop.outcome_store import OutcomeStore

    number = options.project_id(project, studio_url, studio_token)
    store = OutcomeStore(home)
    try:
        found = store.statistics(number, weeks=weeks)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"project": number, **found.to_json()}, ensure_ascii=False))
        return
    if not found.totals["tasks"]:
        whom = "Nobody" if number is None else f"Nobody in project {number}"
        click.echo(
            f"{whom} has submitted a task yet, as far as `maskloop serve` with --home {home} was told by Label Studio's webhook; "
            "`maskloop doctor` says whether it tells",
            err=True,
        )
        return
    kinds = ("tasks", "accepted", "changed", "rejected", "drawn")
    for heading, rows in (("version", found.versions), ("week", found.weeks)):
        _table(
            [heading, *kinds, "pixels changed"],
            [[_name(row[heading]), *(row[k] for k in kinds), _share(row)] for row in rows],
        )
    fates = ("kept", "changed", "removed", "added")
    _table(
        ["class", *fates, "pixels changed"],
        [[row["class"], *(row[k] for k in fates), _share(row)] for row in found.classes],
    )
    _table(
        ["class", "week", *fates, "pixels changed"],
        [[row["class"], row["week"], *(row[k] for k in fates), _share(row)] for row in found.class_weeks],
        texts=2,
    )
    _table(
        ["most corrected", "version", "week", "pixels changed"],
        [
            [f"project {row['project']}, task {row['task']}", _name(row["version"]), row["week"], _share(row)]
            for row in found.tasks
        ],
        texts=3,
    )


def _table(head: list[str], rows: list[list[Any]], *, texts: int = 1) -> None:
    """Print a table whose first columns are texts, an empty line below it; nothing where it has no row."""
    if not rows:
        return
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    for row in cells:
        padded = [
            cell.ljust(width) if k < texts else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(padded).rstrip())
    click.echo()


def _name(value: Any) -> str:
    return "(none or unknown)" if value is None else str(value)


def _share(row: dict[str, Any]) -> str:
    return f"{row['off'] / row['pixels']:.1%}" if row["pixels"] else "-"
