"""`maskloop inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import options
from .progress import Progress
from .streams import source_path


@click.command
@click.argument("source", metavar="SRC")
@options.source_format
@options.of_formats("read")
@click.option(
    "--overlay",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw every sample with its masks into DIR, and a contact sheet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    source: str,
    source_format: str | None,
    overlay: Path | None,
    as_json: bool,
    quiet: bool,
    **of_formats: Any,
) -> None:
    """Count, check and draw what a dataset holds.

    SRC is a file or folder in any format; - is JSON from standard input. Problems are listed, not fatal: the exit code is
    1 only if SRC cannot be read at all.

    \b
    maskloop inspect export.json --overlay pictures/
    maskloop inspect shards/ --json | jq .labels
    """
    from ..inspection import inspect

    with options.usage_errors(), source_path(source) as path, Progress("samples", quiet=quiet) as progress:
        found = inspect(path, source_format, overlay=overlay, progress=progress, **options.chosen("read", of_formats))
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    sizes = ", ".join(f"{h} x {w} ({n:,})" for (h, w), n in found.sizes.most_common(5))
    more = f" and {len(found.sizes) - 5} more" if len(found.sizes) > 5 else ""
    click.echo(f"{found.format}: {found.samples:,} samples, {found.regions:,} regions, {found.empty:,} empty samples")
    click.echo(f"sizes (height x width): {sizes or 'none'}{more}")
    if found.pixels:
        click.echo(
            f"pixels: {found.pixels:,}, {100 * found.uncovered / found.pixels:.2f} % in no region, "
            f"{100 * found.overlapping / found.pixels:.2f} % in several"
        )
    width = max([len(name) for name in found.labels] + [5])
    click.echo(f"\n{'label':{width}}  {'samples':>9}  {'regions':>9}  {'pixels':>15}")
    for name, label in found.labels.items():
        click.echo(f"{name:{width}}  {label.samples:>9,}  {label.regions:>9,}  {label.pixels:>15,}")
    for line in found.notes.lines():
        click.echo(f"note: {line}")
    for line in found.problems.lines():
        click.echo(f"problem: {line}")
    if overlay is not None:
        click.echo(f"pictures are in {overlay}", err=True)
