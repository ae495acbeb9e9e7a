"""`maskloop review`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import quiet
from . import options

if TYPE_CHECKING:
    from ..loop.annotators import Annotators
    from ..loop.review import Applied, Review

_LISTED = 20
_DRAWN = 24


@click.command
@click.option("--project", required=True, metavar="ID|TITLE", help="The Label Studio project.")
@options.studio_url
@options.studio_public_url
@options.studio_token
@options.allow_hosts
@options.deny_private
@click.option(
    "--model",
    "version",
    metavar="VERSION",
    help="Have this version judge all tasks: you know that it did not learn from them.  [default: one is found for each]",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 10),
    metavar="K",
    help="Have tasks that every version may have learned from judged too: K short trainings from new weights (2 to 10; a "
    "minute or two each on two cores), each on all labels but a K-th of those, which it judges. They are never served, nor "
    "kept.",
)
@click.option(
    "--confirm",
    type=click.IntRange(0),
    multiple=True,
    metavar="TASK",
    help="This task's label is right: it is not shown again until it changes. May be given several times.",
)
@click.option(
    "--agreement",
    is_flag=True,
    help="Instead: how much several annotators of a task agree, by task, pair and class. Asks no model, changes nothing.",
)
@click.option(
    "--limit", type=click.IntRange(1), show_default="text 20, --json all", help="Print so many tasks at most."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write DIR/report.html, which draws labels, predictions and where they disagree, and DIR/report.json.",
)
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
@click.option("--apply", is_flag=True, help="Store the order in Label Studio's data manager.")
@click.option("--dry-run", is_flag=True, help="Print what would be stored; store, confirm and write nothing.")
@options.home
@options.json_output
def command(
    project: str,
    studio_url: str,
    studio_public_url: str | None,
    studio_token: str | None,
    allow_hosts: tuple[str, ...],
    deny_private: bool,
    version: str | None,
    folds: int | None,
    confirm: tuple[int, ...],
    agreement: bool,
    limit: int | None,
    report: Path | None,
    overwrite: bool,
    apply: bool,
    dry_run: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Find labels of a project that should be looked at again: those that a model disagrees with.

    Each labelled task is judged by a version that did not learn from it: by the served one where the task is held out or was
    labelled after the version was made, else by the version that this one was trained from, and so on. Tasks that all
    versions may have learned from are named and not judged, unless --folds trains some that did not. A label that was
    imported counts as made when it was imported: where a version was trained on the same labels before, name one with
    --model that was not, or give --folds.

    First come labels of which the model is sure that they are wrong (scores from 0.5 on), then those that it disagrees
    with, each pixel weighted by its confidence. Nothing is changed in Label Studio, unless --apply says so: then
    each task's prediction gets 1 - that score, annotations stay as they are. In the data manager, order by "Prediction
    score", or filter it by at most 0.5; confirmed tasks have 1 there.

    \b
    maskloop review --project "Street scenes" --report found/
    maskloop review --project "Street scenes" --folds 3 --apply
    maskloop review --project "Street scenes" --confirm 17 --confirm 31 --apply
    maskloop review --project "Street scenes" --agreement
    """
    if agreement and (version or folds or confirm or report or apply):
        raise click.UsageError(
            "--agreement compares annotators: --model, --folds, --confirm, --report and --apply are for labels"
        )
    if version and folds:
        raise click.UsageError(
            "--model has one version judge all tasks, --folds trains some for those that no version may"
        )
    token = options.required_token(studio_token)
    quiet.import_keras()
    from ..evaluation.report import check_place, write_review
    from ..loop.annotators import agreement as compare
    from ..loop.review import apply as store
    from ..loop.review import review
    from ..registry import Registry
    from ..studio.addresses import AddressPolicy
    from ..studio.client import StudioClient
    from ..studio.errors import http_address
    from ..studio.images import ImageFetcher
    from ..studio.links import project_page
    from .progress import bar

    if report is not None:
        check_place(report, None, overwrite=overwrite)
    opened = http_address(
        studio_public_url or studio_url, "--studio-public-url" if studio_public_url else "--studio-url"
    )
    registry = Registry(home)
    applied: Applied | None = None
    with ExitStack() as stack:
        client = stack.enter_context(StudioClient(studio_url, token))
        fetcher = ImageFetcher(client.url, token, policy=AddressPolicy.parse(allow_hosts, deny_private, client.url))
        if agreement:
            with bar("tasks") as progress:
                agreed = compare(
                    client, fetcher, project, registry, watch=lambda done, total: progress(done, total or done)
                )
            for note in agreed.notes:
                click.echo(f"note: {note}", err=True)
            if as_json:
                click.echo(json.dumps(agreed.to_json(limit), ensure_ascii=False, allow_nan=False))
            else:
                _print_agreement(agreed, limit or _LISTED)
            return
        with bar("images") as progress, _interruptible():
            found = review(
                client,
                fetcher,
                project,
                registry,
                version=version,
                folds=folds or 0,
                confirm=confirm,
                write=not dry_run,
                drawn=0 if report is None or dry_run else _DRAWN,
                collecting=lambda done, total: progress(done, total or done),
                training=lambda fold, done, total: progress(done, total, f"training, {fold}"),
                judging=lambda done, total: progress(done, total, "images"),
            )
        if apply and not dry_run:
            with bar("scores") as progress:
                applied = store(client, found, each=progress)
    if report is not None and not dry_run:
        page = write_review(
            report,
            f"project {found.project}",
            found.to_json(),
            found.drawn,
            found.labels,
            overwrite=overwrite,
            tasks_at=project_page(opened, found.project),
        )
        click.echo(f"{page}", err=True)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    if applied is not None:
        click.echo("\n".join(_stored(found.project, applied)), err=True)
    elif dry_run and (apply or confirm or report is not None):
        click.echo("--dry-run: nothing was stored", err=True)
    if as_json:
        stored = {} if applied is None else {"stored": applied.to_json()}
        click.echo(json.dumps(found.to_json(limit) | stored, ensure_ascii=False, allow_nan=False))
        return
    _print(found, limit or _LISTED)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        click.echo("interrupted; no score was stored", err=True)
        raise SystemExit(130) from stop


def _print(found: Review, limit: int) -> None:
    judges = ", ".join(f"{count} by {version}" for version, count in found.versions.items()) or "none"
    click.echo(f"project {found.project}: labelled tasks judged: {judges}; confirmed: {len(found.confirmed)}")
    reasons: dict[str, list[str]] = {}
    for task, why in found.not_judged.items():
        reasons.setdefault(why, []).append(task)
    for why, tasks in reasons.items():
        named = ", ".join(tasks[:_LISTED]) + (f" and {len(tasks) - _LISTED} more" if len(tasks) > _LISTED else "")
        click.echo(f"not judged: {len(tasks)} (task {named}): {why}", err=True)
    if not found.tasks:
        return
    click.echo("  rank    task  score  differ  weighted")
    for rank, one in enumerate(found.tasks[:limit], 1):
        worst = one.images[0]
        click.echo(f"{rank:6} {one.task:>7}  {one.score:.3f}  {worst.share:6.1%}  {worst.weighted:8.1%}")
        for suspect in worst.suspects[:3]:
            click.echo(f"{'':16}{suspect.said}")
    if len(found.tasks) > limit:
        click.echo(
            f"and {len(found.tasks) - limit} more: --limit shows them, --report draws them, --json lists them all"
        )


def _print_agreement(agreed: Annotators, limit: int) -> None:
    click.echo(f"project {agreed.project}: {len(agreed.tasks)} images that several people labelled")
    click.echo(f"the same class: {_percent(agreed.total.share)} of the pixels that either of two drew\n")
    width = max(5, *(len(name) for name in agreed.labels))
    click.echo(f"{'class':{width}}    IoU  boundary F")
    for name, iou, boundary in zip(agreed.labels, agreed.total.iou, agreed.total.boundary_f, strict=True):
        click.echo(f"{name:{width}}  {_figure(iou)}       {_figure(boundary)}")
    click.echo("\nannotators, least agreement first")
    for (one, other), found in list(agreed.pairs.items())[:limit]:
        click.echo(f"{_percent(found.share)}  {one} and {other}")
    click.echo("\ntasks, least agreement first")
    for task in agreed.tasks[:limit]:
        click.echo(f"{_percent(task.agreement.share)}  task {task.task} ({len(task.annotators)} annotations)")
    if len(agreed.tasks) > limit:
        click.echo(f"and {len(agreed.tasks) - limit} more: --limit shows them, --json lists them all")


def _percent(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.1%}"


def _figure(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.3f}"


def _stored(project: int, applied: Applied) -> list[str]:
    lines = [
        f"project {project}: {applied.tasks} tasks have their score; in the data manager, order by Prediction score, "
        "lowest first"
    ]
    if applied.without_prediction:
        count = len(applied.without_prediction)
        lines.append(
            f"{count} tasks have no prediction of {applied.model_version} and so no place for a score; with `maskloop "
            "serve` running, apply again: Label Studio fetches them then"
        )
    return lines
