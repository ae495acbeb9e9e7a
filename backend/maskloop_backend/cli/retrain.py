"""`maskloop retrain`."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from .. import quiet
from ..training.recipes import ClassWeighting
from . import options


@click.command
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--project", metavar="ID|TITLE", help="A Label Studio project, instead of SOURCE.")
@click.option(
    "--images-from",
    "--images",
    "images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder with SOURCE's images, where they are not beside it.",
)
@options.studio_url
@options.studio_token
@options.allow_hosts
@options.deny_private
@click.option("--foreign-studio", is_flag=True, hidden=True)
@click.option("--from", "start", metavar="VERSION", show_default="the served one", help="Version to start from.")
@click.option("--fresh", is_flag=True, help="Start from no version: new weights, everything learned anew.")
@click.option(
    "--effort",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="quick computes the features of the layers that stay once an image and trains the last ones on them: a minute on a "
    "CPU; full trains all.",
)
@click.option(
    "--promote",
    type=click.Choice(["if-better", "always", "never"]),
    default="if-better",
    show_default=True,
    help="When the new version is served.",
)
@click.option("--epochs", type=click.IntRange(1), show_default="the effort's", help="Passes over the images at most.")
@click.option(
    "--batch-size", type=click.IntRange(1), show_default="the backbone's: 4; vgg16, small: 8", help="Crops a step."
)
@click.option("--learning-rate", type=float, show_default="the effort's", help="After the warm-up.")
@click.option("--backbone-rate", type=float, show_default="full: 0.3", help="The backbone's share of it, 0..1.")
@click.option(
    "--frozen-blocks",
    type=click.IntRange(0),
    show_default="quick: efficientnet-lite0 16, small 3, vgg16 5",
    help="Of the backbone.",
)
@click.option(
    "--shrink-perturb",
    nargs=2,
    type=float,
    metavar="SHRINK PERTURB",
    show_default="1 0",
    help="Multiply the weights to start from, and add this share of random ones (Ash & Adams 2020): 0.6 0.1.",
)
@click.option(
    "--class-weighting",
    type=click.Choice(get_args(ClassWeighting)),
    show_default="the parent's",
    help="Weigh rare classes up.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the images never trained on; only the first retraining of a project draws it.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="skip leaves out and counts images that are gone and regions that cannot be read.",
)
@click.option(
    "--annotations",
    type=click.Choice(["latest", "ground-truth", "majority"]),
    default="latest",
    show_default=True,
    help="Which of several annotations of a task are learned from; majority: what more than half of them show in a pixel, "
    "and nothing where they disagree.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted training, if the labels are still the same.")
@click.option("--restart", is_flag=True, help="Throw such a training away and begin anew.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option(
    "--progress-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep phase, step, steps, seconds_left and miou in this JSON file.",
)
@options.home
@options.json_output
def command(
    source: Path | None,
    project: str | None,
    images: Path | None,
    studio_url: str,
    studio_token: str | None,
    start: str | None,
    fresh: bool,
    effort: Any,
    promote: Any,
    shrink_perturb: tuple[float, float] | None,
    holdout: float,
    on_error: Any,
    annotations: Any,
    resume: bool,
    restart: bool,
    seed: int,
    progress_file: Path | None,
    home: Path,
    as_json: bool,
    allow_hosts: tuple[str, ...],
    deny_private: bool,
    foreign_studio: bool,
    **overrides: Any,
) -> None:
    """Make a better model of what annotators labelled and corrected, or change nothing.

    Learns from all human labels of a Label Studio project (--project), of an export of one, or of any dataset that
    `convert` reads. Half of what it looks at are predictions that somebody corrected; predictions that were submitted
    unchanged count a quarter; pixels that nobody labelled are ignored. New labels grow the head.

    A fifth of the images is held out for good and never trained on. The new version and the serving one are measured on
    these, and only if the new one is better, by the rule that the report states, it is served. With --project it is served
    to this project alone; else to all that have no version of their own, unless it lacks a class that one of these uses. The
    report shows the most
    improved and the most damaged images, and how much annotators had to change. Running servers follow by themselves.

    Ctrl-C, SIGTERM or kill -9 lose at most one epoch: the same command with --resume goes on.

    \b
    maskloop retrain --project "Street scenes"
    maskloop retrain export.json --effort full
    maskloop retrain CamVid/ --from fcn32s-small-20261122-1a2b3c4d --promote never
    """
    if (source is None) == (project is None):
        raise click.UsageError("give either SOURCE, a dataset on disk, or --project, one of a Label Studio")
    if images is not None and source is None:
        raise click.UsageError("--images-from is for SOURCE; a project's images come from Label Studio")
    if fresh and start:
        raise click.UsageError("--fresh starts from no version, --from names one")
    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other")
    token = None if project is None else options.required_token(studio_token)
    quiet.import_keras()
    from .. import tracking
    from ..loop.progress import ProgressFile, RetrainProgress, TerminalRetraining, Together
    from ..loop.retraining import Plan, StudioProject, retrain
    from ..registry import Registry
    from ..studio.addresses import AddressPolicy
    from ..studio.client import StudioClient
    from ..studio.errors import http_address
    from ..studio.images import ImageFetcher
    from ..training.outcome import TrainingInterrupted

    settings = {key: value for key, value in overrides.items() if value is not None}
    if shrink_perturb is not None:
        settings["shrink"], settings["perturb"] = shrink_perturb
    plan = Plan(start, fresh, effort, promote, resume, restart, seed, on_error, holdout, images, annotations, settings)
    try:
        with ExitStack() as stack:
            stack.enter_context(_terminable())
            terminal = stack.enter_context(TerminalRetraining())
            watchers: list[RetrainProgress] = [terminal]
            if progress_file is not None:
                watchers.append(ProgressFile(progress_file))
            progress = Together(watchers)
            what: Path | StudioProject
            if source is None:
                own = None if foreign_studio else http_address(studio_url, "--studio-url")
                policy = AddressPolicy.parse(allow_hosts, deny_private, own)
                client = stack.enter_context(StudioClient(studio_url, token or "", policy))
                what = StudioProject(client, ImageFetcher(client.url, token, policy=policy), project or "")
            else:
                what = source
            registry = Registry(home)
            run = stack.enter_context(tracking.run("retrain", project=project))
            result = retrain(what, registry, plan, tracking.Followed(progress, run))
            found = result.to_json()
            run.settings(registry.record(result.version).settings)
            run.figures({key: value for key, value in found.items() if key != "training"})
            run.figures(result.training.to_json())
            served = "yes" if result.promoted else "no"
            run.tags(version=result.version, parent=result.parent, served=served, reason=result.reason)
            run.files(result.report.parent)
    except (TrainingInterrupted, KeyboardInterrupt) as stop:
        click.echo(str(stop) or "interrupted; what is served is what was served before", err=True)
        raise SystemExit(130) from stop
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
        return
    whom = "" if result.project is None else f" to project {result.project}"
    click.echo(f"{result.version} is {f'served{whom} now' if result.promoted else 'not served'}: {result.reason}")
    changed = result.changed
    if changed["images"]:
        click.echo(f"annotators changed {changed['share']:.1%} of the pixels of {changed['images']} images", err=True)
    click.echo(f"report: {result.report}", err=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, outside of the training too, which has its own handler."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
