"""`maskloop evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maskloop_converters.cli import options as reading

from .. import quiet
from . import options

if TYPE_CHECKING:
    from ..evaluation.assessment import Assessment
    from ..evaluation.comparison import Comparison, Difference, Estimate

_SUSPECTS = 10


@click.command
@click.argument("targets", nargs=-1, metavar="[VERSION] DATASET")
@click.option("--against", metavar="VERSION", help="Compare with this version on the same images.")
@click.option("--split", metavar="NAME", help="Measure on this part of DATASET only (train, val).  [default: all]")
@click.option("--format", "source_format", type=reading.FORMAT, help="Format of DATASET.  [default: found out]")
@reading.of_formats("read", "labels", "label_config", "annotations", "attribute")
@click.option(
    "--images-from",
    "--images",
    "images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="COCO, Label Studio: the folder with the images.  [default: found beside DATASET]",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write DIR/report.html with pictures, and DIR/report.json with every figure.",
)
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
@options.edges
@options.home
@options.json_output
def command(
    targets: tuple[str, ...],
    against: str | None,
    split: str | None,
    source_format: str | None,
    images: Path | None,
    report: Path | None,
    overwrite: bool,
    edges: bool,
    home: Path,
    as_json: bool,
    **of_formats: Any,
) -> None:
    """Measure a model VERSION on a labelled DATASET and list labels that look wrong.

    VERSION is the one that is served, unless another is named. DATASET is anything that `maskloop convert` reads; its
    classes are matched with the version's by exact name. Void and unlabelled pixels count nowhere. Measure on images
    that the version was not trained on: of its training images it knows the answers.

    \b
    mIoU                mean over the classes that the labels have
    boundary F          how well outlines agree, within 0.75 % of the image's diagonal
    calibration error   how far its confidence is from the share of pixels that are right
    ranges              95 % bootstrap intervals over images

    \b
    maskloop evaluate CamVid/ --split val
    maskloop evaluate fcn32s-vgg16-20261123-1a2b3c4d export.json --images-from photos/ --report found/
    maskloop evaluate street/ --against fcn32s-small-20261101-9f8e7d6c
    """
    if not 1 <= len(targets) <= 2:
        raise click.UsageError("give a DATASET, or a VERSION and a DATASET")
    source = Path(targets[-1])
    if not source.exists():
        raise click.UsageError(f"there is no dataset {targets[-1]}; the arguments are [VERSION] DATASET")
    quiet.import_keras()
    from .. import tracking
    from ..evaluation.assessment import assess
    from ..evaluation.report import check_place, write_report
    from ..inference.predictor import Predictor
    from ..registry import Registry
    from ..training.dataset import Examples, read_labelled
    from .progress import bar

    if report is not None:
        check_place(report, source, overwrite=overwrite)
    registry = Registry(home)
    version = targets[0] if len(targets) == 2 else registry.serving()
    if version is None:
        raise click.UsageError(f"no version is served in {home} yet: name one, `maskloop models list` shows them")
    for name in filter(None, (version, against)):
        registry.record(name)
    dataset = read_labelled(
        source,
        source_format,
        images=images,
        **({"split": split} if split is not None else {}),
        **reading.chosen("read", of_formats),
    )
    examples = Examples(dataset, dataset.labels)
    for heading, tally in (("note", dataset.notes), ("skipped", dataset.skipped)):
        for line in tally.lines():
            click.echo(f"{heading}: {line}", err=True)
    segmenter = Predictor(registry.load(version), edges=edges)
    other = Predictor(registry.load(against), edges=edges) if against else None
    with bar("predictions") as each:
        found = assess(segmenter, examples, against=other, each=each)
    if report is not None:
        page = write_report(report, found, examples, segmenter, source=str(source), overwrite=overwrite)
        click.echo(f"{page}", err=True)
    with tracking.run("evaluate", version=version, against=against) as run:
        run.figures(found.to_json())
        if report is not None:
            run.files(page.parent)
    if as_json:
        click.echo(json.dumps({"source": str(source), **found.to_json()}, ensure_ascii=False, allow_nan=False))
    else:
        _print(found)


def _print(found: Assessment) -> None:
    measurement, values = found.measurement, found.to_json()
    click.echo(f"{measurement.version} on {len(measurement.ids)} image(s)")
    if measurement.missing:
        click.echo(f"not known to the version, never predicted: {', '.join(measurement.missing)}", err=True)
    if measurement.foreign:
        click.echo(f"not in the dataset, wrong where predicted: {', '.join(measurement.foreign)}", err=True)
    click.echo()
    rows: list[tuple[str, Estimate | None]] = [
        ("mIoU", found.scores.miou),
        ("pixel accuracy", found.scores.pixel_accuracy),
        ("boundary F", found.scores.boundary_f),
    ]
    for name, value in rows:
        click.echo(f"{name:20}{_estimate(value)}")
    click.echo(f"{'calibration error':20}{values['calibration_error']:.3f}")
    click.echo()
    width = max(20, *(len(name) + 2 for name in measurement.labels))
    click.echo(f"{'class':{width}}IoU                     boundary F")
    for name in measurement.labels:
        iou, boundary = found.scores.iou[name], found.scores.boundary[name]
        click.echo(f"{name:{width}}{_estimate(iou):24}{'-' if boundary is None else f'{boundary.value:.3f}'}".rstrip())
    if found.comparison is not None:
        _print_comparison(found.comparison)
    if found.suspects:
        click.echo(f"\n{len(found.suspects)} suspicious label(s), the likeliest first:")
        for suspect in found.suspects[:_SUSPECTS]:
            click.echo(f"  {suspect.image}: {suspect.said}")
        if len(found.suspects) > _SUSPECTS:
            click.echo("  --report DIR draws them, --json lists them all")


def _print_comparison(comparison: Comparison) -> None:
    click.echo(f"\nagainst {comparison.serving}, on the same images")
    rows: list[tuple[str, Difference | None]] = [
        ("mIoU", comparison.miou),
        ("pixel accuracy", comparison.pixel_accuracy),
        ("boundary F", comparison.boundary_f),
        *comparison.iou.items(),
    ]
    width = max(20, *(len(name) + 2 for name, _ in rows))
    for name, change in rows:
        if change is not None:
            interval = "" if change.low is None else f"  {change.low:+.3f} to {change.high:+.3f}"
            figures = f"{change.serving:.3f} -> {change.candidate:.3f}  {change.value:+.3f}{interval}"
            click.echo(f"{name:{width}}{figures}")


def _estimate(value: Estimate | None) -> str:
    if value is None:
        return "-"
    return f"{value.value:.3f}" + ("" if value.low is None else f"  ({value.low:.3f} to {value.high:.3f})")
