"""`maskloop convert`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from . import options
from .progress import Progress
from .streams import source_path, target_path

if TYPE_CHECKING:
    from ..conversion import ConversionReport
    from ..report import OnError


@click.command
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--to", required=True, type=options.TARGET, help="Format of DST.")
@options.source_format
@options.of_formats("read")
@click.option("--map", "renames", multiple=True, metavar="OLD=NEW", help="Rename a label; onto an existing one merges.")
@click.option("--drop", multiple=True, metavar="NAME", help="Leave out a label and its regions.")
@click.option("--split", "shares", metavar="80/10/10", help="Draw train, val and test parts, each a folder below DST.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the draw of the parts.")
@options.of_formats("write")
@click.option("--verify", is_flag=True, help="Read the output back and compare all of it before it is put in place.")
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse if DST cannot hold something or SRC has what is not taken, instead of counting.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a bad record: stop, or leave it out and count it.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 2),
    help="Processes; with 2 one reads and decodes while the other encodes and writes: for thousands of samples.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace DST if maskloop wrote it; what is there stays until the new one is complete.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    source: str,
    target: str,
    to: str,
    source_format: str | None,
    renames: tuple[str, ...],
    drop: tuple[str, ...],
    shares: str | None,
    seed: int,
    verify: bool,
    strict: bool,
    on_error: OnError,
    workers: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **of_formats: Any,
) -> None:
    """Convert masks between PNG, COCO RLE, TFRecord, Label Studio, CVAT, labelme, YOLO and Hugging Face, without losing a pixel.

    SA-1B's and VIA's JSON are read.

    SRC and DST are files or folders; - is standard input or output for JSON. What DST cannot hold is counted and said.
    DST appears whole or not at all.

    \b
    maskloop convert export.json coco/ --to coco --verify
    maskloop convert camvid/ shards/ --to tfrecord --schema deeplab --split 80/10/10 --seed 1
    maskloop convert instances.json tasks/ --to labelstudio --map person=pedestrian --drop sky
    maskloop convert tasks/ masks/ --to png --masks binary
    """
    from ..conversion import convert, parse_shares

    if target == "-" and as_json:
        raise click.UsageError("--json prints the report on stdout, where DST - goes as well; choose one")
    if target == "-" and (to not in {"coco", "labelstudio"} or shares):
        raise click.UsageError("DST - takes one JSON file: --to coco or labelstudio, without --split")
    with (
        options.usage_errors(),
        options.advice(),
        source_path(source) as read_from,
        target_path(target) as write_to,
        Progress("samples", quiet=quiet) as progress,
    ):
        report = convert(
            read_from,
            write_to,
            to,
            source_format=source_format,
            read_options=options.chosen("read", of_formats),
            write_options=options.chosen("write", of_formats),
            rename=_renames(renames),
            drop=drop,
            split=parse_shares(shares) if shares else (),
            seed=seed,
            on_error=on_error,
            strict=strict,
            verify=verify,
            overwrite=overwrite,
            single_file=target == "-",
            workers=workers,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    written = report.written
    rate = written.samples / max(report.seconds, 1e-9)
    click.echo(
        f"{written.samples:,} samples, {written.regions:,} regions: {report.source_format} -> {to} "
        f"in {report.seconds:.1f} s ({rate:,.0f}/s)",
        err=True,
    )
    if report.verified is not None:
        click.echo(_verified(report), err=True)
    for heading, tally in (
        ("not compared", report.not_compared),
        ("lost", written.losses),
        ("note", report.notes),
        ("note", written.notes),
        ("skipped", report.skipped),
    ):
        for line in tally.lines():
            click.echo(f"{heading}: {line}", err=True)


def _verified(report: ConversionReport) -> str:
    """Return what the check of the output says: that all is equal only where all was compared."""
    if report.written.losses:
        return f"verified: {report.verified:,} samples read back equal, but for what is lost"
    return f"verified: all {report.verified:,} samples read back equal"


def _renames(texts: tuple[str, ...]) -> dict[str, str]:
    renames = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not equals or not old or not new:
            raise click.BadParameter(f"expected OLD=NEW, got {text!r}", param_hint="--map")
        renames[old] = new
    return renames
