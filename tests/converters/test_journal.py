"""Conversions that are stopped and gone on with: the output is that of a conversion that nothing stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import maskloop_converters as mc
from maskloop_converters.cli import convert as cli
from maskloop_converters.codecs import png, tfexample
from maskloop_converters.errors import OptionError, OutputExistsError, TargetError
from maskloop_converters.journal import Journal, fingerprint

MakeDataset = Callable[..., mc.Dataset]
COUNT = 40
TARGETS = [
    ("png", {"masks": "auto"}),
    ("png", {"masks": "binary", "layout": "camvid"}),
    ("png", {"masks": "index", "images": "link"}),
    ("tfrecord", {"schema": "segmentation", "shards": 7}),
    ("tfrecord", {"schema": "tfds", "shards": 3}),
    ("tfrecord", {"schema": "detection", "compression": "GZIP", "shards": 60}),
    ("tfrecord", {"schema": "panoptic"}),
]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def stop_at(number: int) -> Callable[[int, int | None], None]:
    def progress(done: int, count: int | None) -> None:
        del count
        if done == number:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def source(make: MakeDataset, tmp_path: Path) -> Path:
    mc.write(make(COUNT), tmp_path / "source", "coco")
    return tmp_path / "source"


@pytest.mark.parametrize(("to", "options"), TARGETS)
@pytest.mark.parametrize("split", [(), (60, 30, 10)])
def test_a_conversion_that_was_stopped_twice_gives_the_same_bytes(
    source: Path, tmp_path: Path, to: str, options: dict[str, Any], split: tuple[int, ...]
) -> None:
    whole = mc.convert(source, tmp_path / "whole", to, write_options=options, split=split)
    for stop in (7, 29):
        with pytest.raises(KeyboardInterrupt):
            mc.convert(
                source,
                tmp_path / "out",
                to,
                write_options=options,
                split=split,
                resume=True,
                progress=stop_at(stop),
            )
        assert not (tmp_path / "out").exists()
    report = mc.convert(source, tmp_path / "out", to, write_options=options, split=split, resume=True, verify=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source", "whole"]
    assert report.written.to_dict() == whole.written.to_dict()
    assert report.verified == COUNT


@pytest.mark.parametrize(("to", "options"), [TARGETS[0], TARGETS[3]])
def test_what_is_done_is_not_done_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, options: dict[str, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        mc.convert(source, tmp_path / "out", to, write_options=options, resume=True, progress=stop_at(29))
    made: list[int] = []
    write = png.write_label_map
    monkeypatch.setattr(png, "write_label_map", lambda *a, **k: made.append(1) or write(*a, **k))
    mc.convert(source, tmp_path / "out", to, write_options=options, resume=True)
    assert COUNT - 29 <= len(made) <= COUNT - 29 + 6  # those of a shard that was not whole too


def test_it_survives_a_kill(source: Path, tmp_path: Path) -> None:
    mc.convert(source, tmp_path / "whole", "png")
    code = (
        "import os, sys, maskloop_converters as mc\n"
        "stop = lambda done, count: os.kill(os.getpid(), 9) if done == 17 else None\n"
        "mc.convert(sys.argv[1], sys.argv[2], 'png', resume=True, progress=stop)"
    )
    killed = subprocess.run([sys.executable, "-c", code, source, tmp_path / "out"], env=_environment(), check=False)
    assert killed.returncode == -signal.SIGKILL
    unfinished = tmp_path / ".out.unfinished"
    (torn := next(unfinished.rglob("0.png"), None) or next(unfinished.rglob("*.png"))).write_bytes(
        b"torn by a power cut"
    )
    with (unfinished / "output.journal").open("ab") as journal:
        journal.write(b'{"sample":"half a li')
    mc.convert(source, tmp_path / "out", "png", resume=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert not unfinished.exists()
    assert torn


def _environment() -> dict[str, str]:
    packages = [str(Path(mc.__file__).parents[1])]
    return {"PYTHONPATH": ":".join(packages), "PATH": ""}


@pytest.mark.parametrize(("to", "options"), [TARGETS[0], TARGETS[3]])
def test_a_source_that_changed_in_between_is_written_as_it_is_now(
    make: MakeDataset, tmp_path: Path, to: str, options: dict[str, Any]
) -> None:
    mc.write(make(COUNT), tmp_path / "source", "coco")
    with pytest.raises(KeyboardInterrupt):
        mc.convert(tmp_path / "source", tmp_path / "out", to, write_options=options, resume=True, progress=stop_at(29))
    file = tmp_path / "source" / "annotations" / "instances.json"
    document = json.loads(file.read_text())
    changed = document["images"][12]["id"]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != changed]
    del document["images"][20]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in kept]
    file.write_text(json.dumps(document))
    mc.convert(tmp_path / "source", tmp_path / "whole", to, write_options=options)
    mc.convert(tmp_path / "source", tmp_path / "out", to, write_options=options, resume=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_other_options_are_refused_and_what_is_done_stays(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        mc.convert(source, tmp_path / "out", "png", resume=True, progress=stop_at(9))
    before = tree(tmp_path / ".out.unfinished")
    with pytest.raises(OutputExistsError, match=r"\.out\.unfinished was begun with other options"):
        mc.convert(source, tmp_path / "out", "png", write_options={"masks": "binary"}, resume=True)
    with pytest.raises(OutputExistsError, match="begun with other options, other labels"):
        mc.convert(source, tmp_path / "out", "png", rename={"car": "auto"}, resume=True)
    assert tree(tmp_path / ".out.unfinished") == before


def test_one_at_a_time(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        mc.convert(source, tmp_path / "out", "png", resume=True, progress=stop_at(9))
    path = tmp_path / ".out.unfinished" / "conversion.journal"
    header = json.loads(path.read_text())
    del header["maskloop"]
    with Journal(path, header), pytest.raises(OutputExistsError, match="is in use"):
        mc.convert(source, tmp_path / "out", "png", resume=True)


def test_what_is_refused_in_the_end_is_not_kept(make: MakeDataset, tmp_path: Path) -> None:
    source = tmp_path / "source"
    mc.write(make(3, overlapping=True), source, "coco")
    with pytest.raises(TargetError, match="--strict"):
        mc.convert(source, tmp_path / "out", "png", write_options={"masks": "index"}, resume=True, strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("to", ["coco", "labelstudio"])
def test_formats_that_are_one_document_say_so(make: MakeDataset, tmp_path: Path, to: str) -> None:
    mc.write(make(2), tmp_path / "source", "png")
    arguments = [str(tmp_path / "source"), str(tmp_path / "out"), "--to", to, "--resume"]
    result = CliRunner().invoke(cli.command, arguments)
    assert isinstance(result.exception, OptionError)
    assert "only png and tfrecord have it" in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_every_change_of_a_sample_changes_its_fingerprint(make: MakeDataset) -> None:
    from dataclasses import replace

    sample = next(iter(make(1)))
    others = [
        replace(sample, id="x"),
        replace(sample, attributes={"a": 1}),
        replace(sample, masks=sample.masks.select(list(range(len(sample.masks)))[::-1])),
        replace(sample, regions=(replace(sample.regions[0], score=0.5), *sample.regions[1:])),
        replace(sample, image=replace(sample.image, name="y.png")),
        replace(sample, image=replace(sample.image, source=b"other")),
    ]
    assert len({fingerprint(s) for s in (sample, *others)}) == len(others) + 1
    assert fingerprint(sample) == fingerprint(next(iter(make(1))))


def test_records_of_a_shard_that_was_cut_are_written_again(source: Path, tmp_path: Path) -> None:
    options = {"shards": 4}
    mc.convert(source, tmp_path / "whole", "tfrecord", write_options=options)
    with pytest.raises(KeyboardInterrupt):
        mc.convert(source, tmp_path / "out", "tfrecord", write_options=options, resume=True, progress=stop_at(35))
    shard = next((tmp_path / ".out.unfinished").rglob("1.shard"))
    shard.write_bytes(shard.read_bytes()[:-3])
    mc.convert(source, tmp_path / "out", "tfrecord", write_options=options, resume=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    for path in (tmp_path / "out").glob("*.tfrecord"):
        with path.open("rb") as file:
            assert len(list(tfexample.read_records(file))) == 10
