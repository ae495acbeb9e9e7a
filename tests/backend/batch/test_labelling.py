"""A folder to any format, with a real version: resumed, grown, damaged, in two processes, at a URL."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_backend.batch import labelling
from maskloop_backend.batch.engines.local import LocalEngine
from maskloop_backend.batch.engines.protocol import Tick
from maskloop_backend.batch.errors import BatchError, EngineError, StorageError
from maskloop_backend.batch.labelling import Request, label, prepare
from maskloop_backend.batch.work import Model
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.registry import Registry
from maskloop_backend.studio.images import decode
from maskloop_converters import datasets
from maskloop_converters.errors import DataError

Draw = Callable[..., Path]


def never(model: Model) -> tuple[str, str]:
    raise AssertionError("the runtime is said already")


@pytest.fixture
def request_(home: Path, tmp_path: Path, draw: Draw) -> Request:
    for number in range(7):
        draw(tmp_path / "photos" / f"{number}.png", number, height=40, width=64)
    model = Model(home, str(Registry(home).serving()), "keras", "float32")
    return Request(model, str(tmp_path / "photos"), str(tmp_path / "masks"), "png", shard_images=3)


def made(request: Request, engine: Any = None) -> labelling.Report:
    return label(prepare(request, never), engine or LocalEngine())


def contents(root: Path) -> dict[str, bytes]:
    files = [file for file in root.rglob("*") if file.is_file() and file.name != "lock"]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("format_name", ["png", "coco", "tfrecord", "labelstudio"])
def test_every_format_holds_what_the_model_says(format_name: str, request_: Request, tmp_path: Path) -> None:
    predictor = Predictor(Registry(request_.model.home).load(request_.model.version), precision="float32")
    files = sorted((tmp_path / "photos").iterdir())
    predictions = dict(
        zip([f.name for f in files], predictor.predict([decode(f.read_bytes(), "") for f in files]), strict=True)
    )
    below = float(np.median([prediction.confidence for prediction in predictions.values()])) / 255
    request = replace(request_, format=format_name, below=below)
    report = made(request)
    assert (report.images, report.done, report.missing) == (7, 7, 0)
    dataset = datasets.read(request.root)
    samples = {sample.id: sample for sample in dataset}
    assert sorted(samples) == [f"{number}.png" for number in range(7)]
    void = 0
    for name, sample in samples.items():
        prediction = predictions[name]
        sure = prediction.confidence >= below * 255
        void += int((~sure).sum())
        expected = np.where(sure, prediction.label_map, dataset.labels.fill_id)
        assert (sample.label_map(dataset.labels) == expected).all()
        assert sample.image.read_bytes() == (tmp_path / "photos" / name).read_bytes()
    assert 0 < void < 7 * 40 * 64, "the threshold should leave out some pixels, not all"
    assert report.void == (void, 7 * 40 * 64)
    assert json.loads((tmp_path / "masks/_maskloop/report.json").read_text())["void"] == pytest.approx(
        void / (7 * 40 * 64), abs=1e-6
    )


def test_a_background_does_not_claim_what_is_left_out(request_: Request, brightness: Any, draw: Draw) -> None:
    from maskloop_backend.batch import masks
    from maskloop_backend.inference import doubt
    from maskloop_converters.samples import ImageRef, Label, LabelSet

    labels = LabelSet((Label(0, "back"), Label(1, "car"), Label(255, "odd")), background_id=0).with_ignored()
    assert labels.ignore_id == 256
    image = decode(Path(request_.source, "3.png").read_bytes(), "3.png")
    (prediction,) = brightness.predict([image])
    unsure = doubt.doubtful(prediction, 0.6)
    assert unsure is not None
    sample = masks.sample("x.png", "x", ImageRef("x.png"), prediction, unsure, labels, "v")
    expected = np.where(unsure, np.uint16(256), prediction.label_map)
    assert (sample.label_map(labels) == expected).all()


def test_a_run_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(request_: Request, tmp_path: Path) -> None:
    made(replace(request_, root=str(tmp_path / "whole")))
    prepared = prepare(request_, never)

    class Stopped(LocalEngine):
        def run(self, work: Any, shards: Any, tick: Tick = lambda count: None) -> Any:
            yield from super().run(work, shards[:1], tick)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(prepared, Stopped())
    # killed between the files of a shard and its manifest
    (tmp_path / "masks/_maskloop/shards/00000.jsonl").unlink()
    assert len(prepare(request_, never).waiting) == 3
    report = made(request_)
    assert (report.done, report.labelled) == (7, 7)
    assert contents(tmp_path / "masks") == contents(tmp_path / "whole")
    again = made(request_)
    assert (again.done, again.labelled, again.before) == (7, 0, 7)


def test_new_images_are_added_and_what_is_finished_stays(request_: Request, tmp_path: Path, draw: Draw) -> None:
    made(replace(request_, limit=4))
    before = contents(tmp_path / "masks")
    (tmp_path / "photos/0.png").unlink()
    draw(tmp_path / "photos/00.png", 9, height=40, width=64)
    report = made(request_)
    assert (report.images, report.done, report.labelled, report.gone) == (8, 8, 4, 1)
    after = contents(tmp_path / "masks")
    changed = {"_maskloop/plan.jsonl", "_maskloop/report.json"}
    assert {name: after[name] for name in before if name not in changed} == {
        name: content for name, content in before.items() if name not in changed
    }


def test_images_that_were_out_of_reach_are_tried_again(request_: Request, tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "list.txt").write_text("".join(f"photos/{name}.png\n" for name in ("0", "gone", "1")))
    (tmp_path / "photos/1.png").write_bytes(b"no picture")
    request = replace(request_, source=str(tmp_path / "list.txt"))
    report = made(request)
    assert {f.name: f.kind for f in report.failures} == {"gone.png": "unreachable", "1.png": "unreadable"}
    draw(tmp_path / "photos/gone.png", 5, height=40, width=64)
    report = made(request)
    assert [f.name for f in report.failures] == ["1.png"]
    assert (report.done, report.missing) == (2, 1)
    assert prepare(request, never).waiting == []


def test_a_shard_without_any_good_image_is_no_dataset(request_: Request, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"photos/{number}.png").write_bytes(b"no picture")
    report = made(request_)
    assert (report.done, len(report.failures)) == (4, 3)
    assert not (tmp_path / "masks/shard-00000").exists()
    assert len(list(datasets.read(request_.root))) == 4


@pytest.mark.slow
def test_two_processes_write_the_same_and_one_that_is_killed_is_replaced(request_: Request, tmp_path: Path) -> None:
    made(request_)
    before = contents(tmp_path / "masks")
    # with `spawn`, tests' own modules are not there in a worker: it is killed from here
    engine, killed = LocalEngine(2, 1), []

    def tick(done: int, total: int) -> None:
        if done >= 1 and not killed:
            killed.append(True)
            for process in _children():
                os.kill(process, signal.SIGKILL)

    report = label(prepare(replace(request_, root=str(tmp_path / "two")), never), engine, tick)
    assert killed
    assert report.missing == 0
    assert contents(tmp_path / "two") == before


def _children() -> list[int]:
    import multiprocessing

    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "coco"}, "was begun with --to 'png', not 'coco'"),
        ({"below": 0.5}, "was begun with --confidence-below 0.0, not 0.5"),
        ({"options": {"masks": "binary"}}, "was begun with the options of the format"),
    ],
)
def test_other_settings_do_not_mix_with_what_is_there(request_: Request, change: Any, says: str) -> None:
    made(request_)
    with pytest.raises(BatchError, match=says):
        prepare(replace(request_, **change), never)
    report = made(replace(request_, overwrite=True, **change))
    assert report.missing == 0
    assert len(list(datasets.read(request_.root))) == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": {"schema": "tfds"}}, "png has no option"),
        ({"format": "labelstudio", "options": {"kind": "annotations"}}, "what a model drew is no annotation"),
        ({"model": "fcn32s-small-20990101-00000000"}, "fcn32s-small-20990101-00000000"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    request_: Request, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    if "model" in change:
        change = {"model": replace(request_.model, version=change["model"])}
    with pytest.raises(DataError, match=says):
        prepare(replace(request_, **change), never)
    assert not (tmp_path / "masks").exists()


def test_a_folder_with_other_things_is_not_touched(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"holds what `maskloop label` did not write \(0.png"):
        prepare(replace(request_, root=request_.source), never)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BatchError, match="is a file"):
        prepare(replace(request_, root=str(tmp_path / "file")), never)


def test_damaged_plans_and_manifests_are_named(request_: Request, tmp_path: Path) -> None:
    made(request_)
    manifest = tmp_path / "masks/_maskloop/shards/00001.jsonl"
    manifest.write_text("{}\n")
    with pytest.raises(BatchError, match=r"00001\.jsonl is no manifest"):
        prepare(request_, never)
    manifest.unlink()
    (tmp_path / "masks/_maskloop/plan.jsonl").write_text('{"maskloop": 1}\n{"shard": 3}\n')
    with pytest.raises(BatchError, match=r"plan\.jsonl is damaged"):
        prepare(request_, never)


def test_urls_hold_the_same_files(request_: Request, tmp_path: Path) -> None:
    made(request_)
    report = made(replace(request_, source=f"file://{tmp_path}/photos", root=f"file://{tmp_path}/there"))
    assert report.missing == 0
    ours = {name: content for name, content in contents(tmp_path / "masks").items() if "/masks/" in name}
    theirs = {name: content for name, content in contents(tmp_path / "there").items() if "/masks/" in name}
    assert ours == theirs
    assert ours
    assert made(replace(request_, root=f"file://{tmp_path}/there")).labelled == 0


def test_a_storage_in_memory_works_too(request_: Request) -> None:
    import fsspec

    report = made(replace(request_, root="memory://bucket/masks", format="tfrecord"))
    assert report.missing == 0
    assert len(fsspec.filesystem("memory").glob("/bucket/masks/shard-*/*.tfrecord")) == 3


def test_a_bucket_that_forbids_is_one_line(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def forbid(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError("403 Forbidden for https://bucket.example/?X-Amz-Signature=secret")

    monkeypatch.setattr(MemoryFileSystem, "find", forbid)
    with pytest.raises(StorageError, match=r"memory://closed/: access is forbidden") as error:
        prepare(replace(request_, source="memory://closed/"), never)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_workers_that_cannot_load_the_version_say_why(request_: Request, tmp_path: Path) -> None:
    prepared = prepare(request_, never)
    broken = replace(prepared.request.model, home=tmp_path / "nowhere")
    prepared = replace(prepared, request=replace(prepared.request, model=broken))
    with pytest.raises(EngineError, match="fcn32s-small"):
        label(prepared, LocalEngine(2, 1))
