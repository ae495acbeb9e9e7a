"""`maskloop train`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..model.backbones.table import BACKBONES
from . import options, quiet


@click.command
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--backbone",
    type=click.Choice(list(BACKBONES)),
    default="small",
    show_default=True,
    help="small trains from scratch in minutes on a CPU; vgg16 is the paper's. All others want --weights imagenet.",
)
@click.option(
    "--head/--no-head", default=True, show_default=True, help="The paper's fc6 and fc7 (vgg16: 120 M weights)."
)
@click.option(
    "--weights", default="none", show_default=True, metavar="imagenet|PATH|none", help="Weights to start from."
)
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True, help="Passes over the images at most.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Crops a step.")
@click.option("--learning-rate", type=float, show_default="the backbone's", help="After the warm-up.")
@click.option("--size", type=click.IntRange(32), help="Shrink images with a longer side to so many pixels.")
@click.option(
    "--class-weighting",
    type=click.Choice(["none", "median_frequency"]),
    default="none",
    show_default=True,
    help="Weigh rare classes up.",
)
@click.option(
    "--frozen-blocks",
    type=click.IntRange(0, 5),
    default=0,
    show_default=True,
    help="So many of the backbone's five blocks keep their weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="mixed_bfloat16 is faster where the machine has it.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Stop after so many evaluations without a better mIoU.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the images to measure on, where the dataset has no validation part.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted training of the same settings and data.")
@click.option("--restart", is_flag=True, help="Throw such a training away and begin anew.")
@options.home
@options.json_output
def command(
    source: Path, weights: str, resume: bool, restart: bool, home: Path, as_json: bool, **values: object
) -> None:
    """Train an FCN-32s on SOURCE, a dataset in any format that `convert` reads, and add it to the model versions.

    Ctrl-C keeps a checkpoint; the same command with --resume goes on.

    \b
    maskloop train street/
    maskloop train CamVid/ --backbone vgg16 --weights imagenet --no-head --batch-size 4
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other")
    quiet.import_keras()
    from ..training.dataset import read_source
    from ..training.progress import TerminalProgress
    from ..training.settings import TrainingSettings
    from ..training.trainer import TrainingInterrupted, train

    settings = TrainingSettings.from_json({**values, "weights": None if weights == "none" else weights})
    dataset, validation = read_source(source)
    from ..registry import Registry

    with TerminalProgress() as progress:
        try:
            result = train(
                dataset, settings, Registry(home), progress, validation=validation, resume=resume, restart=restart
            )
        except TrainingInterrupted as stop:
            click.echo(str(stop), err=True)
            # what shells report of a program that Ctrl-C ended
            raise SystemExit(130) from stop
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
        return
    click.echo(
        f"{result.version}: mIoU {result.best.miou:.3f} on {len(result.validation)} held-out images "
        f"(epoch {result.best.epoch}, {result.seconds:.0f} s)"
    )
    click.echo(f"maskloop models promote {result.version}    makes it the one that is served", err=True)
