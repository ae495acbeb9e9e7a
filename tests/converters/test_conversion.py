from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import maskloop_converters as mc
from maskloop_converters import conversion, datasets
from maskloop_converters.cli import convert as cli
from maskloop_converters.errors import (
    DataError,
    FormatError,
    LabelError,
    OptionError,
    OutputExistsError,
    TargetError,
    VerificationError,
)
from maskloop_converters.registry import FORMATS, TARGETS
from maskloop_converters.relabel import relabel
from maskloop_converters.samples import Label, LabelSet
from maskloop_converters.splitting import drawn_parts

MakeDataset = Callable[..., mc.Dataset]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_folder_without_labels_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"holds no files: expected images and their masks\. .* is in no known format"
    ):
        mc.read(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "A.JPG").touch()
    with pytest.raises(FormatError, match=r"holds images, and nothing that says what is in them: expected masks"):
        mc.read(tmp_path)
    (tmp_path / "notes.md").touch()
    with pytest.raises(FormatError, match=r"^\S+ is in no known format"):
        mc.read(tmp_path)


def same(a: mc.Dataset, b: mc.Dataset) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.id == y.id
        assert x.masks == y.masks
        assert [a.labels.by_id(r.label).name for r in x.regions] == [b.labels.by_id(r.label).name for r in y.regions]


@pytest.mark.parametrize("to", sorted(TARGETS))
def test_every_format_is_written_detected_and_verified(png_dataset: Path, tmp_path: Path, to: str) -> None:
    report = mc.convert(png_dataset, tmp_path / "out", to, verify=True)
    assert (report.source_format, report.target_format, report.verified) == ("png", to, 2)
    assert datasets.detect(tmp_path / "out") == to
    before, after = mc.read(png_dataset), mc.read(tmp_path / "out")
    if report.written.losses:  # what it is called and where it is seen, at least
        for one, other in zip(before, after, strict=True):
            assert one.id == other.id
            assert seen(one, before.labels) == seen(other, after.labels)
    else:
        same(before, after)


def seen(sample: mc.Sample, labels: mc.LabelSet) -> list[list[str]]:
    names = {label.id: label.name for label in labels.labels}
    return [[names.get(k, "") for k in row] for row in sample.label_map(labels).tolist()]


def test_labels_are_renamed_merged_and_dropped(png_dataset: Path, tmp_path: Path) -> None:
    mc.convert(png_dataset, tmp_path / "out", "coco", rename={"car": "road", "sky": "Himmel"})
    merged = mc.read(tmp_path / "out")
    assert [label.name for label in merged.labels.labels] == ["Himmel", "road"]
    for before, after in zip(mc.read(png_dataset), merged, strict=True):
        assert after.masks == before.masks
    mc.convert(png_dataset, tmp_path / "less", "coco", drop=["sky"])
    for before, after in zip(mc.read(png_dataset), mc.read(tmp_path / "less"), strict=True):
        assert after.masks == before.masks.select([1, 2])


@pytest.mark.parametrize(
    ("rename", "drop", "message"),
    [
        ({"bus": "car"}, [], "no label is named 'bus'; there are: sky, road, car"),
        ({}, ["bus"], "no label is named 'bus'"),
        ({"car": "x"}, ["car"], "both dropped and renamed"),
    ],
)
def test_unknown_labels_are_named(
    png_dataset: Path, tmp_path: Path, rename: dict[str, str], drop: list[str], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        mc.convert(png_dataset, tmp_path / "out", "coco", rename=rename, drop=drop)
    assert not (tmp_path / "out").exists()


def test_a_split_is_exact_disjoint_and_repeatable(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(50), tmp_path / "source", "png")
    ids = {}
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        report = mc.convert(tmp_path / "source", tmp_path / out, "coco", split=(80, 10, 10), seed=seed, verify=True)
        assert {name: part.samples for name, part in report.parts.items()} == {"train": 40, "val": 5, "test": 5}
        ids[out] = {name: [s.id for s in mc.read(tmp_path / out / name)] for name in ("train", "val", "test")}
    assert ids["a"] == ids["b"] != ids["c"]
    assert sorted(i for part in ids["a"].values() for i in part) == sorted(f"s{k}" for k in range(50))


@pytest.mark.parametrize("shares", ["80", "a/b", "50/30/10/10", "-1/2", "0/0"])
def test_bad_shares(png_dataset: Path, tmp_path: Path, shares: str) -> None:
    with pytest.raises(DataError, match=r"80/10/10"):
        mc.convert(png_dataset, tmp_path / "out", "coco", split=conversion.parse_shares(shares))


def test_what_the_target_cannot_hold_is_counted_and_strict_refuses(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(2, overlapping=True), tmp_path / "source", "coco")
    options = {"masks": "index"}
    report = mc.convert(tmp_path / "source", tmp_path / "lossy", "png", write_options=options, verify=True)
    assert report.written.losses
    assert report.verified == 2, "the label map is still right"
    with pytest.raises(TargetError, match="not everything can be taken over"):
        mc.convert(tmp_path / "source", tmp_path / "strict", "png", write_options=options, strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lossy", "source"]


def test_existing_output_is_kept_unless_overwrite(png_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        mc.convert(png_dataset, tmp_path / "out", "coco")
    with pytest.raises(OutputExistsError, match=r"maskloop did not write \(precious\.txt\)"):
        mc.convert(png_dataset, tmp_path / "out", "coco", overwrite=True)
    assert tree(tmp_path / "out") == {"precious.txt": b"mine"}


@pytest.mark.parametrize("to", sorted(TARGETS))
@pytest.mark.parametrize("split", [(), (50, 50)])
def test_overwriting_replaces_what_maskloop_wrote_and_nothing_else(
    png_dataset: Path, tmp_path: Path, to: str, split: tuple[float, ...]
) -> None:
    out = tmp_path / "out"
    mc.convert(png_dataset, out, to, split=split)
    for again in sorted(TARGETS):
        mc.convert(png_dataset, out, again, split=split, overwrite=True)
    mc.convert(png_dataset, out, to, split=split, overwrite=True)
    (out / "notes.txt").write_text("mine")
    before = tree(out)
    with pytest.raises(OutputExistsError, match=r"did not write \(notes\.txt\)"):
        mc.convert(png_dataset, out, to, split=split, overwrite=True)
    with pytest.raises(OutputExistsError, match=r"did not write \(notes\.txt\)"):
        mc.write(mc.read(png_dataset), out, to, overwrite=True)
    assert tree(out) == before


def test_folders_above_an_output_that_failed_go_away(png_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        mc.convert(png_dataset, tmp_path / "a/b/out.json", "coco", write_options={"kind": "panoptic"})
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("to", sorted(TARGETS))
def test_parts_are_one_dataset_at_their_place(make: MakeDataset, tmp_path: Path, to: str) -> None:
    mc.write(make(12), tmp_path / "source", "png")
    mc.convert(tmp_path / "source", tmp_path / "out", to, split=(50, 25, 25), seed=3, verify=True)
    assert datasets.detect(tmp_path / "out") == to
    assert sorted(datasets.splits(tmp_path / "out")) == ["test", "train", "val"]
    whole = mc.read(tmp_path / "out")
    assert sorted(sample.id for sample in whole) == sorted(f"s{k}" for k in range(12))
    assert len(list(mc.read(tmp_path / "out", split="val"))) == 3
    with pytest.raises(FormatError, match=r"has no part 'x'; there are: .*train"):
        mc.read(tmp_path / "out", split="x")


class Counted:
    """Samples that tell how often they were made."""

    def __init__(self, dataset: mc.Dataset) -> None:
        self.dataset = dataset
        self.made = 0

    def __iter__(self) -> Iterator[mc.Sample]:
        for sample in self.dataset:
            self.made += 1
            yield sample


@pytest.mark.parametrize("to", sorted(TARGETS))
def test_the_source_is_decoded_once(
    make: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    mc.write(make(12), tmp_path / "source", "png")
    honest, counted = datasets.read, []

    def reading(path: Path, *args: Any, **options: Any) -> mc.Dataset:
        dataset = honest(path, *args, **options)
        if path == tmp_path / "source":
            counted.append(Counted(dataset))
            return replace(dataset, samples=counted[-1])
        return dataset

    monkeypatch.setattr(datasets, "read", reading)
    mc.convert(tmp_path / "source", tmp_path / "out", to, split=(50, 50), verify=True)
    assert [samples.made for samples in counted] == [12]


def _flip(sample: mc.Sample, **changes: Any) -> mc.Sample:
    return replace(sample, regions=tuple(replace(region, **changes) for region in sample.regions))


DISHONEST: dict[str, Callable[[mc.Sample], mc.Sample]] = {
    "crowd flags": lambda sample: _flip(sample, crowd=True),
    "scores": lambda sample: _flip(sample, score=None),
    "ids of the regions": lambda sample: _flip(sample, id="x"),
    "instance numbers": lambda sample: _flip(sample, instance=None),
    "origins": lambda sample: _flip(sample, origin=None),
    "attributes of the regions": lambda sample: _flip(sample, attributes={}),
    "labels of the regions": lambda sample: _flip(sample, label=0),
    "attributes": lambda sample: replace(sample, attributes={}),
    "image names": lambda sample: replace(sample, image=replace(sample.image, name="x.png")),
    "image": lambda sample: replace(sample, image=replace(sample.image, source=b"x")),
}


@pytest.mark.parametrize("aspect", DISHONEST)
def test_verification_compares_all_that_a_format_holds(
    make: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aspect: str
) -> None:
    from maskloop_converters.formats import coco

    told = [
        replace(_flip(s, score=0.5, instance=3, origin="manual", attributes={"a": 1}), attributes={"b": 2})
        for s in make(2)
    ]
    mc.write(replace(make(2), samples=told), tmp_path / "source", "png")
    honest = coco.read

    def lossy(path: Path, **options: Any) -> mc.Dataset:
        dataset = honest(path, **options)
        return replace(dataset, samples=[DISHONEST[aspect](sample) for sample in dataset])

    mc.convert(tmp_path / "source", tmp_path / "honest", "coco", verify=True)
    monkeypatch.setattr(coco, "read", lossy)
    with pytest.raises(VerificationError, match=f"s0: .*{aspect} differ"):
        mc.convert(tmp_path / "source", tmp_path / "out", "coco", verify=True)


def test_verification_says_what_it_did_not_compare(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(replace(make(2), samples=[*make(1), *list(make(2, overlapping=True))[1:]]), tmp_path / "source", "coco")
    done = run(str(tmp_path / "source"), str(tmp_path / "out"), "--to", "png", "--masks", "index", "--verify")
    assert done.exit_code == 0, done.output
    assert "verified: 2 samples read back equal, but for what is lost" in done.output
    assert (
        "not compared: 1 samples compared by their visible pixels only, as something of them is lost (s1)"
        in done.output
    )
    done = run(str(tmp_path / "source"), str(tmp_path / "o"), "--to", "coco", "--images", "reference", "--verify")
    assert "not compared: 2 images not compared" in done.output


def test_one_file_of_tasks_loses_its_label_list_and_strict_refuses(png_dataset: Path) -> None:
    done = run(str(png_dataset), "-", "--to", "labelstudio")
    assert "lost: 1 label lists (ids, order, colours)" in done.stderr
    refused = run(str(png_dataset), "-", "--to", "labelstudio", "--strict")
    assert isinstance(refused.exception, TargetError)
    assert refused.stdout == ""
    whole = run(str(png_dataset), "-", "--to", "coco", "--strict")
    assert whole.exit_code == 0, whole.output


def test_errors_of_standard_input_name_no_temporary_file() -> None:
    done = run("-", "-", "--to", "coco", "--from", "coco", stdin=b"nonsense")
    assert isinstance(done.exception, FormatError)
    assert "standard input" in str(done.exception)
    assert "stdin.json" not in str(done.exception)


def test_deeplab_is_the_schema_segmentation(png_dataset: Path, tmp_path: Path) -> None:
    for name in ("deeplab", "segmentation"):
        done = run(str(png_dataset), str(tmp_path / name), "--to", "tfrecord", "--schema", name, "--verify")
        assert done.exit_code == 0, done.output
    assert tree(tmp_path / "deeplab") == tree(tmp_path / "segmentation")


def test_skipped_samples_leave_no_shard_empty(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(6), tmp_path / "source", "png")
    for mask in sorted((tmp_path / "source/masks").iterdir())[:4]:
        mask.write_bytes(b"")
    report = mc.convert(
        tmp_path / "source", tmp_path / "out", "tfrecord", write_options={"shards": 4}, on_error="skip", verify=True
    )
    assert report.written.samples == 2
    assert len(list((tmp_path / "out").glob("*.tfrecord"))) == 2


def test_a_failure_on_the_way_leaves_the_old_output(
    png_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mc.convert(png_dataset, tmp_path / "out", "coco")
    before = tree(tmp_path / "out")
    mask = next((png_dataset / "masks").iterdir())
    mask.write_bytes(mask.read_bytes()[:40])
    with pytest.raises(FormatError, match=mask.name):
        mc.convert(png_dataset, tmp_path / "out", "coco", overwrite=True)
    assert tree(tmp_path / "out") == before
    report = mc.convert(png_dataset, tmp_path / "out", "coco", overwrite=True, on_error="skip")
    assert report.written.samples == 1
    assert mask.name in str(report.skipped.lines())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_ctrl_c_leaves_nothing(png_dataset: Path, tmp_path: Path) -> None:
    def interrupt(done: int, count: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mc.convert(png_dataset, tmp_path / "out", "png", progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_verification_catches_a_writer_that_loses_a_pixel(
    png_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskloop_converters.formats import coco

    honest = coco.read

    def lossy(path: Path, **options: object) -> mc.Dataset:
        dataset = honest(path, **options)  # type: ignore[arg-type]
        return replace(dataset, samples=[_without_a_pixel(sample) for sample in dataset])

    monkeypatch.setattr(coco, "read", lossy)
    with pytest.raises(VerificationError, match="s0: masks differ"):
        mc.convert(png_dataset, tmp_path / "out", "coco", verify=True)
    assert not (tmp_path / "out").exists()


def _without_a_pixel(sample: mc.Sample) -> mc.Sample:
    masks = sample.masks.to_masks()
    masks[0][tuple(np.argwhere(masks[0])[0])] = False
    return replace(sample, masks=mc.RunList.from_masks(masks, height=sample.height, width=sample.width))


def test_options_of_other_formats_are_refused_by_name(png_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"writing coco has no option --masks; only png has it"):
        mc.convert(png_dataset, tmp_path / "out", "coco", write_options={"masks": "index"})


def test_detection_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"hello": 1}')
    with pytest.raises(FormatError) as error:
        datasets.detect(tmp_path / "notes.json")
    for name in FORMATS:
        assert f"not {name}:" in str(error.value)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.command, list(arguments), input=stdin)


def test_the_command_reports_as_json(png_dataset: Path, tmp_path: Path) -> None:
    done = run(str(png_dataset), str(tmp_path / "o"), "--to", "coco", "--verify", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["from"], report["to"], report["samples"], report["verified"]) == ("png", "coco", 2, 2)


def test_the_command_reads_stdin_and_writes_stdout(png_dataset: Path, tmp_path: Path) -> None:
    mc.convert(png_dataset, tmp_path / "c.json", "coco")
    done = run("-", "-", "--from", "coco", "--to", "labelstudio", stdin=(tmp_path / "c.json").read_bytes())
    assert done.exit_code == 0, done.output
    (tmp_path / "tasks.json").write_bytes(done.stdout_bytes)
    for before, after in zip(mc.read(png_dataset), mc.read(tmp_path / "tasks.json"), strict=True):
        assert after.masks == before.masks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "coco", "--map", "car"], "expected OLD=NEW"),
        ([], "Missing option '--to'"),
        (["--to", "bmp"], "'bmp' is not one of"),
        (["--to", "coco", "--workers", "0"], "--workers"),
        (["--to", "coco", "--workers", "999"], "--workers"),
        (["--to", "coco", "--kind", "panoptik"], "'panoptik' is not one of"),
        (["--to", "coco", "--kind", "predictions"], "coco: --kind is one of instances, panoptic, not 'predictions'"),
        (["--to", "png", "--shards", "2"], "writing png has no option --shards; only tfrecord has it"),
        (["--to", "coco", "--label-config", "{source}/labels.json"], "reading png has no option --label-config"),
    ],
)
def test_usage_errors_exit_with_2(png_dataset: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    arguments = [argument.format(source=png_dataset) for argument in arguments]
    done = run(str(png_dataset), str(tmp_path / "o"), *arguments)
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("place", ["source", "source/inside", "."])
def test_an_output_never_touches_its_source(make: MakeDataset, tmp_path: Path, place: str) -> None:
    mc.write(make(3), tmp_path / "source", "png")
    before = tree(tmp_path)
    with pytest.raises(OutputExistsError, match="nothing was written: give"):
        mc.convert(tmp_path / "source", tmp_path / place, "coco", overwrite=True)
    assert tree(tmp_path) == before


def test_an_output_never_replaces_the_sources_images(make: MakeDataset, tmp_path: Path) -> None:
    mc.write(make(3), tmp_path / "source", "labelstudio", images="copy")
    before = tree(tmp_path)
    with pytest.raises(OutputExistsError, match=r"nothing was written"):
        mc.convert(tmp_path / "source/tasks.json", tmp_path / "source/images", "coco", overwrite=True)
    assert tree(tmp_path) == before


def test_names_that_are_swapped_or_chained_are_not_merged(png_dataset: Path) -> None:
    dataset = mc.read(png_dataset)
    swapped = relabel(dataset, rename={"sky": "road", "road": "sky", "car": "bus"}, drop=[])
    assert [(x.id, x.name) for x in swapped.labels.labels] == [
        (x.id, {"sky": "road", "road": "sky", "car": "bus"}[x.name]) for x in dataset.labels.labels
    ]
    chained = relabel(dataset, rename={"sky": "road", "road": "car"}, drop=["car", "car"])
    assert [x.name for x in chained.labels.labels] == ["road", "car"]
    for before, after in zip(dataset, chained, strict=True):
        assert [r.label for r in after.regions] == [r.label for r in before.regions if r.label != 2]


def test_a_background_is_neither_dropped_nor_merged_away() -> None:
    labels = LabelSet((Label(0, "background"), Label(1, "car")), background_id=0)
    for rename, drop in (({"background": "car"}, []), ({}, ["background"])):
        with pytest.raises(LabelError, match="the background 'background' cannot be"):
            relabel(mc.Dataset(labels, []), rename=rename, drop=drop)


@pytest.mark.parametrize(("shares", "seed"), [((float("nan"), 20), 0), ((float("inf"), 1), 0), ((80, 20), -1)])
def test_shares_and_seeds_that_are_none(shares: tuple[float, ...], seed: int) -> None:
    with pytest.raises(DataError, match="expected"):
        drawn_parts(2, shares, seed=seed)


@pytest.mark.parametrize("to", ["png", "tfrecord"])
def test_standard_output_takes_one_file(png_dataset: Path, to: str) -> None:
    result = CliRunner().invoke(cli.command, [str(png_dataset), "-", "--to", to])
    assert result.exit_code == 2
    assert "DST - takes one JSON file" in result.output


def test_an_error_of_one_record_says_how_to_go_on_without_it(png_dataset: Path, tmp_path: Path) -> None:
    next((png_dataset / "masks").iterdir()).write_bytes(b"")
    done = run(str(png_dataset), str(tmp_path / "out"), "--to", "coco")
    assert str(done.exception).endswith("(--on-error skip leaves it out and goes on)")
    done = run(str(tmp_path / "gone"), str(tmp_path / "out"), "--to", "coco")
    assert "--on-error" not in str(done.exception), "nothing is left if the whole is not there"
    with pytest.raises(FormatError) as raised:
        mc.convert(png_dataset, tmp_path / "out", "coco")
    assert "--on-error" not in str(raised.value), "Python has no flags"
