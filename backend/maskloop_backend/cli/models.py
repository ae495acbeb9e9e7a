"""`maskloop models`: list, show, check and choose model versions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import quiet
from ..registry import Registry
from ..registry.difference import difference
from . import options


@click.group(name="models", short_help="List, compare, carry over and remove model versions; choose the served one.")
def command() -> None:
    """List, compare, check, carry over and remove model versions, and choose the one that is served."""


@command.command("list")
@options.home
@options.json_output
def list_versions(home: Path, as_json: bool) -> None:
    """List the versions, oldest first; the default has a star, and projects with a version of their own stand beside it."""
    rows = Registry(home).summary()
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"No model versions in {home / 'models'} yet; `maskloop train` makes one.", err=True)
    for row in rows:
        star = "*" if row["serving"] else " "
        if "error" in row:
            click.echo(f"{star} {row['version']}  {row['error']}")
        else:
            classes = f"{len(row['labels'])} classes"
            whom = f"project {', '.join(map(str, row['projects']))}" if row["projects"] else ""
            shown = [f"{star} {row['version']}", row["created"], classes, _metrics(row), whom]
            click.echo("  ".join(filter(None, shown)))


@command.command()
@click.argument("version")
@options.home
@options.json_output
def show(version: str, home: Path, as_json: bool) -> None:
    """Show what is known of a VERSION."""
    registry = Registry(home)
    reduced = registry.quantized(version)
    record = {**registry.record(version).to_json(), "int8": None if reduced is None else reduced.to_json()}
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    names = [label["name"] for label in record["labels"]["labels"]]
    for key, value in {**record, "labels": names}.items():
        click.echo(f"{key:17}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@command.command()
@click.argument("version")
@options.served_project
@options.studio_url
@options.studio_token
@click.option("--reason", default="", help="Why, for the history.")
@options.home
def promote(
    version: str, project: str | None, studio_url: str, studio_token: str | None, reason: str, home: Path
) -> None:
    """Make VERSION the one that `maskloop serve` serves, after checking its weights; a server that runs follows.

    Without --project it is the default, which all projects without a version of their own are served. It says which
    classes these use and VERSION lacks.

    \b
    maskloop models promote fcn32s-small-20261122-1a2b3c4d
    maskloop models promote fcn32s-small-20261122-1a2b3c4d --project "Street scenes"
    """
    from ..loop.in_use import lost

    registry, number = Registry(home), options.project_id(project, studio_url, studio_token)
    for line in lost(registry, number, registry.record(version).labels):
        click.echo(f"warning: {line}", err=True)
    quiet.import_keras()
    registry.promote(version, project=number, reason=reason)
    click.echo(f"{version} is served{_whom(number)} from now on.", err=True)


@command.command()
@options.served_project
@options.studio_url
@options.studio_token
@click.option("--reason", default="", help="Why, for the history.")
@options.home
def rollback(project: str | None, studio_url: str, studio_token: str | None, reason: str, home: Path) -> None:
    """Serve again what was served before; a second rollback goes further back.

    Before its first own version, a project was served the default.
    """
    number = options.project_id(project, studio_url, studio_token)
    version = Registry(home).rollback(project=number, reason=reason)
    click.echo(f"{version} is served{_whom(number)} from now on.", err=True)


@command.command()
@click.option("--project", required=True, metavar="ID|TITLE", help="The Label Studio project.")
@options.studio_url
@options.studio_token
@click.option("--reason", default="", help="Why, for the history.")
@options.home
def follow(project: str, studio_url: str, studio_token: str | None, reason: str, home: Path) -> None:
    """Let a project give up its own version for the default; `rollback --project` takes that back."""
    number = options.project_id(project, studio_url, studio_token)
    assert number is not None
    version = Registry(home).follow(number, reason=reason)
    click.echo(f"{version or 'nothing'} is served{_whom(number)} from now on, as the default.", err=True)


@command.command()
@click.argument("project", type=click.IntRange(0))
@options.home
def forget(project: int, home: Path) -> None:
    """Forget PROJECT, an id that Label Studio has no more: its history of versions, and which classes it used.

    Its holdout and the report of its trainings stay. A project that is there after all is served the default.
    """
    from ..loop.label_configs import LabelConfigs

    known = [Registry(home).forget(project), LabelConfigs(home).forget(project)]
    click.echo(f"project {project} is {'forgotten' if any(known) else 'not known'}", err=True)


@command.command()
@click.argument("one")
@click.argument("other")
@options.home
@options.json_output
def diff(one: str, other: str, home: Path, as_json: bool) -> None:
    """Show what differs between two versions: labels, architecture, settings, metrics."""
    registry = Registry(home)
    found = difference(registry.record(one), registry.record(other))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for what, names in found["labels"].items():
        if names:
            click.echo(f"labels {what:11}{', '.join(names)}")
    for section, values in found.items():
        if section not in ("versions", "parents", "labels"):
            for key, (before, after) in values.items():
                click.echo(
                    f"{section}{'.' if key else ''}{key}  {_value(before)} -> {_value(after)}{_gain(before, after)}"
                )


@command.command()
@click.argument("version")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "kind",
    type=click.Choice(["archive", "onnx", "openvino", "tflite", "saved-model"]),
    default="archive",
    show_default=True,
    help="What to write: a version for another maskloop, or its network for another runtime.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@options.home
def export(version: str, path: Path, kind: str, overwrite: bool, home: Path) -> None:
    """Write VERSION into one FILE that `maskloop models import` reads on another machine.

    With --to the network alone, for another runtime: uint8 RGB images of any size in, label map and confidence out;
    colours and padding are inside, labels and their colours in the metadata. openvino and saved-model are folders.

    \b
    maskloop models export fcn8s-efficientnet-lite0-20261129-1a2b3c4d street.maskloop
    maskloop models export fcn8s-efficientnet-lite0-20261129-1a2b3c4d street.onnx --to onnx
    """
    if kind == "archive":
        if path.is_dir():
            raise click.UsageError(f"{path} is a folder; an archive is one file")
        Registry(home).export(version, path, overwrite=overwrite)
    else:
        quiet.import_keras()
        from ..exporting import export_graph

        export_graph(Registry(home).load(version), kind, path, overwrite=overwrite)  # type: ignore[arg-type]
    click.echo(f"{version} is in {path}", err=True)


@command.command()
@click.argument("version")
@click.argument("dataset", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--images", default=128, show_default=True, type=click.IntRange(1), help="Calibrate on so many images at most."
)
@click.option("--overwrite", is_flag=True, help="Replace an int8 graph that VERSION has.")
@options.home
@options.json_output
def quantize(version: str, dataset: Path, images: int, overwrite: bool, home: Path, as_json: bool) -> None:
    """Give VERSION a graph that computes with 8 bits (OpenVINO's int8), and measure on DATASET what that costs.

    DATASET is anything that `maskloop convert` reads: ranges are calibrated on images of its training part, mIoU is measured on
    its val part; without parts, on a fifth that is drawn. Takes a minute or two and wants: pip install 'maskloop[int8]'.

    `maskloop serve --precision int8` uses the graph. Unasked it is taken where it costs at most 0.005 mIoU and is measured to be
    the fastest. It stays on this machine: `export` leaves it out.

    \b
    maskloop models quantize fcn8s-efficientnet-lite0-20261129-1a2b3c4d CamVid/
    """
    quiet.import_keras()
    from ..evaluation import quantization
    from ..inference.runtimes.openvino_int8 import require_quantizer
    from ..training.dataset import Examples, read_source, split
    from .progress import bar

    require_quantizer()
    registry = Registry(home)
    registry.check_quantizable(version, overwrite=overwrite)
    training, validation = read_source(dataset)
    samples, held_out = (list(training), list(validation)) if validation else split(list(training), 0.2, 0)
    labels = (validation or training).labels
    if len(samples) > images:
        samples, _ = split(samples, 1 - images / len(samples), 0)
    with bar("predictions") as each:
        record = quantization.quantize(
            registry,
            version,
            Examples(samples, training.labels),
            Examples(held_out, labels),
            overwrite=overwrite,
            each=each,
        )
    if as_json:
        click.echo(json.dumps(record.to_json()))
        return
    click.echo(f"{'':16}float32   int8")
    click.echo(f"{'mIoU':16}{record.miou:7.4f}  {record.int8_miou:7.4f}  ({-record.loss:+.4f})")
    accuracy, reduced = record.pixel_accuracy, record.int8_pixel_accuracy
    click.echo(f"{'pixel accuracy':16}{accuracy:7.4f}  {reduced:7.4f}  ({reduced - accuracy:+.4f})")
    click.echo(f"calibrated on {record.calibration_images} images, measured on {record.measured_images}", err=True)
    if record.is_small_loss:
        click.echo("`maskloop serve` takes it where it is the fastest", err=True)
    else:
        click.echo("that is much: it is used with `maskloop serve --precision int8` only", err=True)


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.home
def import_file(file: Path, home: Path) -> None:
    """Add the version in a FILE of `maskloop models export`, after checking it; nothing in it is executed."""
    version = Registry(home).add_archive(file)
    click.echo(version)
    click.echo(f"maskloop models promote {version}    makes it the one that is served", err=True)


@command.command("import-caffe")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--names",
    metavar="NAME,NAME,...",
    help="Of the classes, by channel, where the network was trained on something else than the authors' datasets.",
)
@options.home
def import_caffe(file: Path, names: str | None, home: Path) -> None:
    """Add the authors' own FCN in FILE, a .caffemodel, as a version; the file is only read, nothing in it is executed.

    FCN-32s, 16s and 8s on VGG16: voc-fcn32s, -fcn16s, -fcn8s and -fcn8s-atonce, pascalcontext, siftflow (its semantic
    classes) and nyud-fcn32s-color. Each is 500 MB and has its address in the file caffemodel-url of its folder in
    https://github.com/shelhamer/fcn.berkeleyvision.org. The number of classes says which dataset it is.

    \b
    curl -O http://dl.caffe.berkeleyvision.org/fcn8s-heavy-pascal.caffemodel
    maskloop models import-caffe fcn8s-heavy-pascal.caffemodel
    """
    quiet.import_keras()
    from ..model.published import import_caffemodel

    given = None if names is None else [name.strip() for name in names.split(",")]
    version = Registry(home).add(import_caffemodel(file, names=given))
    click.echo(version)
    click.echo(f"maskloop models promote {version}    makes it the one that is served", err=True)


@command.command()
@click.argument("version")
@click.option("--force", is_flag=True, help="Even though it was served before, so that a rollback may lead to it.")
@options.home
def remove(version: str, force: bool, home: Path) -> None:
    """Remove VERSION for good; what is served to anybody stays."""
    click.echo(f"{version} is removed, {_megabytes(Registry(home).remove(version, force=force))}", err=True)


@command.command()
@click.option("--newest", default=5, show_default=True, type=click.IntRange(0), help="Keep so many of the newest.")
@click.option(
    "--before",
    default=5,
    show_default=True,
    type=click.IntRange(0),
    help="Keep so many of those that were served last, by default and to each project.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@options.home
@options.json_output
def gc(newest: int, before: int, dry_run: bool, home: Path, as_json: bool) -> None:
    """Remove old versions; what is served to anybody stays, and those that rollbacks lead to next."""
    registry = Registry(home)
    found = (registry.superfluous if dry_run else registry.collect)(newest=newest, before=before)
    if as_json:
        click.echo(json.dumps(found))
        return
    for version, size in found.items():
        click.echo(f"{version}  {_megabytes(size)}")
    what = "would be" if dry_run else "are"
    click.echo(f"{len(found)} versions {what} removed, {_megabytes(sum(found.values()))}", err=True)


@command.command()
@options.served_project
@options.studio_url
@options.studio_token
@options.home
@options.json_output
def history(project: str | None, studio_url: str, studio_token: str | None, home: Path, as_json: bool) -> None:
    """Show which version was served when, and why; the last line is the one that is served."""
    serving = Registry(home).history(options.project_id(project, studio_url, studio_token))
    changes = serving.changes if serving else ()
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], ensure_ascii=False))
        return
    for change in changes:
        version = change.version or "the default"
        click.echo("  ".join(filter(None, [change.at, f"{change.action:8}", version, change.reason])))


@command.command()
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@options.home
@options.json_output
def verify(versions: tuple[str, ...], home: Path, as_json: bool) -> None:
    """Check the weights and records of each VERSION, of all without one; exit 1 when one is damaged."""
    problems = Registry(home).check(list(versions))
    if as_json:
        click.echo(json.dumps(problems, ensure_ascii=False))
    else:
        for version, problem in problems.items():
            click.echo(f"{version}  {problem or 'intact'}")
    if any(problems.values()):
        raise click.exceptions.Exit(1)


def _whom(project: int | None) -> str:
    return "" if project is None else f" to project {project}"


def _metrics(row: dict[str, Any]) -> str:
    """Return the numbers among a version's metrics, 'holdout_miou 0.812'."""
    numbers = {name: value for name, value in row["metrics"].items() if isinstance(value, float | int)}
    return "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _gain(before: Any, after: Any) -> str:
    if not isinstance(before, float) or not isinstance(after, float):
        return ""
    return f"  ({after - before:+.4g})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
