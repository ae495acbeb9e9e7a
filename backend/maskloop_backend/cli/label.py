"""`maskloop label`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from maskloop_converters.cli import options as converter_options

from .. import quiet
from . import options

if TYPE_CHECKING:
    from ..batch.engines.protocol import Engine
    from ..batch.labelling import Prepared, Progress


@click.command
@click.argument("source", metavar="SOURCE")
@click.argument("destination", metavar="DEST")
@click.option("--to", "format_name", type=converter_options.FORMAT, help="Format of DEST.")
@click.option(
    "--from",
    "source_format",
    type=click.Choice([*converter_options.FORMAT.choices, "images"]),
    help="Format of a SOURCE that is a dataset; 'images' takes a folder for images only.  [default: found out]",
)
@click.option("--model", "version", metavar="VERSION", help="The version that labels.  [default: the served one]")
@options.confidence_below
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Label N images at most.")
@click.option("--shuffle", is_flag=True, help="Take the images in random order.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random order.")
@click.option("--shard-images", type=click.IntRange(1), default=200, show_default=True, help="Images of a shard.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--overwrite", is_flag=True, help="Begin anew where `maskloop label` wrote before.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Processes, each with a model.  [default: measured where there are 1,000 images or more, else one]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="That each process computes with.  [default: the cores, shared out]",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(16),
    default=256,
    show_default=True,
    help="Memory for images of each process, from reading to writing.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "keras", "openvino"]),
    default="auto",
    show_default=True,
    envvar="MASKLOOP_RUNTIME",
    show_envvar=True,
    help="What computes predictions, see `maskloop serve`.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    envvar="MASKLOOP_PRECISION",
    show_envvar=True,
    help="What the network computes in, see `maskloop serve`.",
)
@options.edges
@converter_options.of_formats("write")
@options.home
@options.json_output
@click.option("--quiet", "silent", is_flag=True, help="No progress.")
def command(
    source: str,
    destination: str,
    format_name: str | None,
    source_format: str | None,
    version: str | None,
    below: float,
    limit: int | None,
    shuffle: bool,
    seed: int,
    shard_images: int,
    dry_run: bool,
    overwrite: bool,
    processes: int | None,
    threads: int | None,
    memory_mb: int,
    runtime: Literal["auto", "keras", "openvino"],
    precision: Literal["auto", "float32", "bfloat16", "int8"],
    edges: bool,
    home: Path,
    as_json: bool,
    silent: bool,
    **of_formats: Any,
) -> None:
    """Label whole datasets: the images of SOURCE come out in DEST with the model's masks, whatever fails on the way.

    SOURCE is an image, a folder, a glob, a text file with a path or URL a line, a dataset that `maskloop convert` reads, or
    a URL of files (s3://, gs://, http://; pip install 'maskloop[cloud]').

    DEST is a folder or a URL. It gets a folder a shard of images, each a dataset of the format; `maskloop convert` reads all
    of them as one. A shard is there whole or not at all: run the same command again after Ctrl-C, a crash or a full disk,
    and it goes on. Images that SOURCE has got since are added. What could not be labelled is listed with the reasons in
    DEST/_maskloop/report.json, and the command exits with 1.

    \b
    maskloop label photos/ masks/ --to png
    maskloop label 'photos/**/*.jpg' coco/ --to coco --images reference --confidence-below 0.6
    maskloop label s3://bucket/photos s3://bucket/masks --to tfrecord --limit 1000 --shuffle
    maskloop convert masks/ one/ --to coco                      one dataset of all shards
    """
    from ..batch import labelling
    from ..batch.shard import Limits
    from ..batch.work import Model

    if format_name is None:
        raise click.UsageError(f"say with --to what format DEST gets: {', '.join(converter_options.FORMAT.choices)}")
    model = Model(home, _version(home, version), runtime, precision, edges)
    with converter_options.usage_errors():
        request = labelling.Request(
            model=model,
            source=source,
            root=destination,
            format=format_name,
            source_format=source_format,
            options=converter_options.chosen("write", of_formats),
            below=below,
            limit=limit,
            seed=seed if shuffle else None,
            shard_images=shard_images,
            limits=Limits(memory_mb << 20),
            overwrite=overwrite,
        )
        quiet.import_keras()
        prepared = labelling.prepare(request, labelling.chosen(_local(processes or 1, threads)))
    if dry_run:
        _say_plan(prepared, as_json)
        return
    engine = _engine(prepared, processes, threads)
    with _progress(silent) as progress:
        report = labelling.label(prepared, engine, progress)
    if as_json:
        figures = {"seconds": round(report.seconds, 3), "images_per_second": round(report.rate, 3)}
        click.echo(json.dumps({**report.to_json(), **figures, "labelled_now": report.labelled}))
    else:
        click.echo("\n".join(report.lines()), err=True)
        for failure in report.failures[:10]:
            click.echo(f"missing: {failure.name}: {failure.reason}", err=True)
        if len(report.failures) > 10:
            click.echo(
                f"missing: ... all {len(report.failures):,} of them: {destination}/_maskloop/report.json", err=True
            )
    raise SystemExit(int(report.missing > 0))


def _version(home: Path, given: str | None) -> str:
    """Return the version that labels: the one that was asked for, else the one that is served."""
    from ..registry import Registry

    version = given or Registry(home).serving()
    if version is None:
        raise click.UsageError(f"no version is served in {home} yet: `maskloop train` makes one, --model names another")
    return version


def _local(processes: int, threads: int | None) -> Any:
    from ..batch.engines.local import LocalEngine

    if threads is None and processes > 1:
        threads = max(1, (os.cpu_count() or 1) // processes)
    return LocalEngine(processes, threads)


def _engine(prepared: Prepared, processes: int | None, threads: int | None) -> Engine:
    from ..batch.splitting import fastest

    if processes is None and threads is None:
        engine: Engine = fastest(prepared)
        return engine
    local: Engine = _local(processes or 1, threads)
    return local


def _say_plan(prepared: Prepared, as_json: bool) -> None:
    waiting = prepared.waiting
    plan = {
        "model_version": prepared.plan.facts["version"],
        "images": prepared.plan.images,
        "images_to_label": prepared.images,
        "shards": len(prepared.plan.shards),
        "shards_to_make": len(waiting),
        "new_in_source": prepared.plan.added,
        "gone_from_source": prepared.plan.gone,
        "runtime": prepared.plan.facts["runtime"],
        "precision": prepared.plan.facts["precision"],
    }
    if as_json:
        click.echo(json.dumps(plan))
        return
    click.echo(
        f"{plan['images_to_label']:,} of {plan['images']:,} images would be labelled with {plan['model_version']} "
        f"({plan['runtime']}, {plan['precision']}), in {plan['shards_to_make']:,} of {plan['shards']:,} shards"
    )


@contextmanager
def _progress(silent: bool) -> Iterator[Progress]:
    if silent:
        yield lambda done, total: None
        return
    from .progress import bar

    with bar("images", speed=True) as progress:
        yield progress
