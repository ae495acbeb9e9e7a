"""`maskloop simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .. import quiet
from . import options

_STRATEGIES = "default,random,foreground-random"
_LABELLED = "10,25,50,100,200,400"


@click.command
@click.argument("dataset", type=click.Path(exists=True, path_type=Path))
@click.option("--from", "version", metavar="VERSION", help="Whose network sees the images.  [default: the served one]")
@click.option(
    "--strategies", default=_STRATEGIES, show_default=True, help="To compare; `maskloop rank --help` explains."
)
@click.option(
    "--labelled",
    default=_LABELLED,
    show_default=True,
    metavar="N,N,...",
    help="Images with labels in each round; more than there are means all.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Repetitions.")
@click.option("--training-steps", type=click.IntRange(1), default=400, show_default=True, help="Batches a training.")
@click.option(
    "--size", type=click.IntRange(32), default=512, show_default=True, help="Shrink images with a longer side."
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg", help="Draw the curves.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.svg.")
@options.home
@options.json_output
def command(
    dataset: Path,
    version: str | None,
    strategies: str,
    labelled: str,
    seeds: int,
    training_steps: int,
    size: int,
    plot: Path | None,
    overwrite: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Find out on your own labelled DATASET which images are worth labelling first.

    Pretends that only some images have labels: in every round a strategy chooses the next ones, their labels are added,
    a model is trained and measured on the validation part (or a quarter of the images, where there is none). Prints
    mIoU against labelled images, and how many pixels of the pre-filled masks an annotator would have to change.

    What is trained are the head and the scores of VERSION, as `retrain --effort quick` and `serve --live` do it, but with
    scores from 0 on. The layers before them see every image once, so dozens of trainings take minutes; a whole training has
    a higher mIoU.

    \b
    maskloop simulate street/ --labelled 20,40,80,160 --seeds 3 --plot curve.svg
    maskloop simulate CamVid/ --from fcn32s-vgg16-20261123-1a2b3c4d --strategies default,entropy,bald,random
    """
    quiet.import_keras()
    from maskloop_converters.atomic import atomic_file, check_free

    from ..active.curves import comparison, curves
    from ..active.plot import curves_svg
    from ..active.simulation import Rounds, simulate
    from ..active.strategies import STRATEGIES
    from ..registry import Registry
    from ..training.dataset import Examples, read_source, split
    from .progress import bar

    names = [name.strip() for name in strategies.split(",") if name.strip()]
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise click.UsageError(f"--strategies: there is no {unknown[0]!r}; there are: {', '.join(STRATEGIES)}")
    try:
        counts = tuple(int(count) for count in labelled.split(","))
    except ValueError:
        raise click.UsageError(f"--labelled is {labelled!r}; expected whole numbers: {_LABELLED}") from None
    if plot is not None:
        check_free(plot, overwrite)
    registry = Registry(home)
    chosen = version or registry.serving()
    if chosen is None:
        raise click.UsageError(f"no version is served in {home} yet: `maskloop train` makes one, --from names another")
    bundle = registry.load(chosen)
    found, validation = read_source(dataset)
    samples, held_out = (list(found), list(validation)) if validation is not None else split(list(found), 0.25, 0)
    labels = found.labels
    train, measured = Examples(samples, labels, size=size), Examples(held_out, labels, size=size)
    plan = Rounds(
        tuple(name for name in STRATEGIES if name in names),
        labelled=counts,
        seeds=seeds,
        training_steps=training_steps,
    )
    with bar("images") as progress:
        points = simulate(
            bundle,
            train,
            measured,
            plan,
            each=progress,
            said=lambda p: click.echo(f"{p.strategy}, seed {p.seed}: {p.labelled} images, mIoU {p.miou:.3f}", err=True),
        )
    drawn = curves(points)
    if plot is not None:
        with atomic_file(plot, overwrite=overwrite) as aside:
            aside.write_text(curves_svg(drawn, f"{dataset.name}: mean of {seeds} seeds"), encoding="utf-8")
    if as_json:
        click.echo(
            json.dumps(
                {"version": chosen, "points": [p.to_json() for p in points], "curves": [c.to_json() for c in drawn]}
            )
        )
        return
    for curve in drawn:
        click.echo(f"{curve.strategy}")
        click.echo("  labelled   mIoU           to correct next   to correct in all")
        for row in zip(curve.labelled, curve.miou, curve.spread, curve.to_correct, curve.to_correct_rest, strict=True):
            count, miou, spread, following, rest = row
            click.echo(f"  {count:8}   {miou:.3f} ± {spread:.3f}  {_percent(following):>15}   {_percent(rest):>17}")
    for line in comparison(drawn):
        click.echo(line)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
