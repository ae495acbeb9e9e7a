"""`maskloop label`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from maskloop_converters.cli import options as converter_options

from .. import quiet
from . import options

if TYPE_CHECKING:
    from ..batch.engines.protocol import Engine
    from ..batch.labelling import Prepared, Progress
    from ..batch.project import Access, ProjectRequest
    from ..batch.report import Report
    from ..batch.sources import Taken


@click.command
@click.argument("source", metavar="SOURCE", required=False)
@click.argument("destination", metavar="DEST", required=False)
@click.option("--to", "format_name", type=converter_options.TARGET, help="Format of DEST.")
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
@click.option(
    "--only",
    type=click.Choice(["all", "unlabelled"]),
    default="all",
    show_default=True,
    help="Of a project: all tasks (those that lack a prediction of the version, without DEST), or those of them that "
    "nobody annotated.",
)
@click.option(
    "--view", type=click.IntRange(1), metavar="ID", help="Of a project: the tasks of a tab of its data manager."
)
@click.option(
    "--replace", is_flag=True, help="In a project: delete other versions' predictions of tasks that nobody annotated."
)
@click.option(
    "--regions",
    type=click.Choice(["class", "component"]),
    default="class",
    show_default=True,
    help="In a project: one region a class, or one a connected part.",
)
@click.option(
    "--min-area", default=1, show_default=True, type=click.IntRange(1), help="In a project: leave out smaller regions."
)
@options.studio_url
@options.studio_token
@options.allow_hosts
@options.deny_private
@click.option(
    "--status", "show_status", is_flag=True, help="Show how far all labellings are, and the tasks that failed."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--overwrite", is_flag=True, help="Begin anew where `maskloop label` wrote before.")
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where shards are worked on: processes of this machine, or Ray (pip install 'maskloop[ray]'), whose nodes must see "
    "SOURCE, DEST and --home under the same names.",
)
@click.option(
    "--address", metavar="ADDRESS", help="Of a Ray cluster ('auto', 'host:6379').  [default: Ray on this machine]"
)
@click.option(
    "--gpus",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Of each worker of Ray; shares are possible.",
)
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
    source: str | None,
    destination: str | None,
    format_name: str | None,
    source_format: str | None,
    version: str | None,
    below: float,
    limit: int | None,
    shuffle: bool,
    seed: int,
    shard_images: int,
    only: Literal["all", "unlabelled"],
    view: int | None,
    replace: bool,
    regions: Literal["class", "component"],
    min_area: int,
    studio_url: str,
    studio_token: str | None,
    allow_hosts: tuple[str, ...],
    deny_private: bool,
    show_status: bool,
    dry_run: bool,
    overwrite: bool,
    engine_name: Literal["local", "ray"],
    address: str | None,
    gpus: float,
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
    a URL of files (s3://, gs://, http://; pip install 'maskloop[cloud]'). `project:ID` (or its title) is a Label Studio
    project: its tasks get predictions, in bulk, without the server; a second run adds none. With DEST the project stays as
    it is, and the masks of its tasks go there.

    DEST is a folder or a URL. It gets a folder a shard of images, each a dataset of the format; `maskloop convert` reads all
    of them as one. A shard is there whole or not at all: run the same command again after Ctrl-C, a crash or a full disk,
    and it goes on. Images that SOURCE has got since are added. What could not be labelled is listed with the reasons in
    DEST/_maskloop/report.json, and the command exits with 1.

    \b
    maskloop label photos/ masks/ --to png
    maskloop label 'photos/**/*.jpg' coco/ --to coco --images reference --confidence-below 0.6
    maskloop label s3://bucket/photos s3://bucket/masks --to tfrecord --limit 1000 --shuffle
    maskloop convert masks/ one/ --to coco                      one dataset of all shards
    maskloop label "project:Street scenes" --only unlabelled    predictions for a project
    maskloop label "project:Street scenes" masks/ --to png      its images and masks as a dataset
    maskloop label --status
    """
    if show_status:
        _say_status(home, as_json)
        return
    if source is None:
        raise click.UsageError("SOURCE is missing: a folder, a list, a dataset, a URL or project:ID")
    from ..batch import labelling, project
    from ..batch.shard import Limits
    from ..batch.work import Model
    from ..studio.predictions import PredictionOptions

    limits = Limits(memory_mb << 20)
    if engine_name == "local" and (address or gpus):
        raise click.UsageError("--address and --gpus are of Ray: give --engine ray")
    cluster = _ray(address, processes, threads, gpus) if engine_name == "ray" else None
    taken = None
    if (named := project.project_of(source)) is not None and destination not in (None, source):
        if replace:
            raise click.UsageError(
                "--replace is of predictions in a project, not of a dataset: leave DEST or --replace out"
            )
        access = project.Access(studio_url, options.required_token(studio_token), allow_hosts, deny_private)
        taken = _taken(access, named, only, view, destination, format_name)
    elif named is not None:
        token = options.required_token(studio_token)
        request_of = project.ProjectRequest(
            Model(home, _version(home, version, named), runtime, precision),
            named,
            project.Access(studio_url, token, allow_hosts, deny_private),
            PredictionOptions(regions, min_area, below),
            only,
            view,
            replace,
            limit,
            seed if shuffle else None,
            limits,
        )
        _label_project(request_of, cluster or _local(processes or 1, threads), dry_run, as_json, silent)
    if destination is None:
        raise click.UsageError("DEST is missing: a folder or URL for the masks")
    if project.project_of(destination) is not None:
        raise click.UsageError(
            "predictions go into the project whose tasks they are of: import the images into it first; then, without "
            "DEST: maskloop label project:ID"
        )
    if format_name is None:
        raise click.UsageError(f"say with --to what format DEST gets: {', '.join(converter_options.TARGET.choices)}")
    model = Model(home, _version(home, version, named or ""), runtime, precision, edges)
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
            limits=limits,
            overwrite=overwrite,
            taken=taken,
        )
        quiet.import_keras()
        prepared = labelling.prepare(request, labelling.chosen(_local(processes or 1, threads)))
    if dry_run:
        _say_plan(prepared, as_json)
        return
    engine = cluster or _engine(prepared, processes, threads)
    with _noted(prepared) as note, _progress(silent) as progress:
        report = labelling.label(prepared, engine, progress)
        note(report)
    _say_report(report, as_json, f"{destination}/_maskloop/report.json")


def _taken(
    access: Access, named: str, only: Literal["all", "unlabelled"], view: int | None, place: str, to: str | None
) -> Taken | None:
    """Return the images of a project's tasks; nothing where what follows is refused anyway."""
    from ..batch import project, task_images
    from ..studio.client import StudioClient

    if project.project_of(place) is not None or to is None:
        return None
    with StudioClient(access.url, access.token) as client:
        return task_images.taken(client, named, access, only, view)


@contextmanager
def _noted(prepared: Prepared) -> Iterator[Callable[[Report], None]]:
    """Keep in the status file that a labelling runs, and what it came to."""
    from contextlib import closing

    from ..batch.status import BatchStatus
    from ..batch.storage import spoken

    request = prepared.request
    with closing(BatchStatus(request.model.home)) as status:
        places = spoken(request.source), spoken(request.root)
        batch = status.begin(*places, request.model.version, prepared.plan.images)

        def note(report: Report) -> None:
            status.count(batch, report.done, len(report.failures), "incomplete" if report.missing else "done")

        try:
            yield note
        except BaseException:
            status.end(batch)
            raise


def _say_report(report: Report, as_json: bool, whole: str) -> NoReturn:
    """Say what labelling came to, and end with 1 where something is missing.

    Args:
        report: of it.
        as_json: for programs.
        whole: where all reasons are.
    """
    if as_json:
        figures = {"seconds": round(report.seconds, 3), "images_per_second": round(report.rate, 3)}
        click.echo(json.dumps({**report.to_json(), **figures, "labelled_now": report.labelled, "notes": report.notes}))
    else:
        click.echo("\n".join(report.lines()), err=True)
        for failure in report.failures[:10]:
            click.echo(f"missing: {failure.name}: {failure.reason}", err=True)
        if len(report.failures) > 10:
            click.echo(f"missing: ... all {len(report.failures):,} of them: {whole}", err=True)
    raise SystemExit(int(report.missing > 0))


def _label_project(request: ProjectRequest, engine: Engine, dry_run: bool, as_json: bool, silent: bool) -> NoReturn:
    """Label a project's tasks and say what it came to."""
    from contextlib import closing

    from ..batch import project
    from ..batch.status import BatchStatus
    from ..studio.client import StudioClient

    with StudioClient(request.access.url, request.access.token) as client:
        plan = project.prepare(client, request)
        if dry_run:
            told = {"project": plan.number, "tasks_to_label": len(plan.tasks), "have": plan.have, "notes": plan.notes}
            click.echo(
                json.dumps(told)
                if as_json
                else f"{len(plan.tasks):,} tasks of project {plan.number} would be labelled with {request.model.version}; "
                f"{plan.have:,} have its predictions"
            )
            raise SystemExit(0)
        quiet.import_keras()
        with closing(BatchStatus(request.model.home)) as status, _progress(silent) as progress:
            report = project.label_project(client, request, plan, engine, status, progress)
    _say_report(report, as_json, f"{request.model.home}/batches.sqlite3, task")


def _say_status(home: Path, as_json: bool) -> None:
    from ..batch.status import stored

    batches = stored(home)
    if as_json:
        click.echo(json.dumps({"batches": batches}))
        return
    if not batches:
        click.echo("nothing was labelled yet", err=True)
    for batch in batches:
        tasks = ", ".join(f"{number:,} {state}" for state, number in sorted(batch["tasks"].items()))
        click.echo(
            f"{batch['id']:4}  {batch['state']:10}  {batch['done']:,} of {batch['images']:,}  {batch['version']}  "
            f"{batch['source']} -> {batch['destination']}  {batch['changed']}" + (f"  ({tasks})" if tasks else "")
        )
        for one in batch["reasons"]:
            click.echo(f"        task {one['task']}: {one['reason']}")


def _version(home: Path, given: str | None, project: str = "") -> str:
    """Return the version that labels: the one that was asked for, else the one that is served."""
    from ..registry import Registry

    version = given or Registry(home).serving(int(project) if project.isdecimal() else None)
    if version is None:
        raise click.UsageError(f"no version is served in {home} yet: `maskloop train` makes one, --model names another")
    return version


def _local(processes: int, threads: int | None) -> Any:
    from ..batch.engines.local import LocalEngine

    if threads is None and processes > 1:
        threads = max(1, (os.cpu_count() or 1) // processes)
    return LocalEngine(processes, threads)


def _ray(address: str | None, processes: int | None, threads: int | None, gpus: float) -> Engine:
    from ..batch.engines.ray import RayEngine

    return RayEngine(address, processes, threads or 1, gpus)


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
