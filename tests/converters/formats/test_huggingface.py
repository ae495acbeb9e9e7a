"""Rows of Hugging Face's datasets: what the library writes and reads, and what it would not say of damaged ones."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_converters import convert
from maskloop_converters import datasets as anywhere
from maskloop_converters.errors import FormatError, OutputExistsError
from maskloop_converters.formats import huggingface
from maskloop_converters.formats.huggingface.library import library
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample

datasets = library()

MAPS = [np.repeat([[0, 1, 2, 255]], 3, 0).astype(np.uint8), np.full((2, 5), 1, np.uint8)]
NAMES = ["sky", "road", "car"]


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, kind)
    return out.getvalue()


def photo(shape: tuple[int, ...]) -> bytes:
    return encoded(np.full((*shape, 3), 90), "JPEG")


def rows(image: str = "image", mask: str = "annotation", **more: Any) -> Any:
    """Two rows as the library holds them; the mask is a picture, and no class stands in it but by its number."""
    columns = {
        image: [{"bytes": photo(m.shape), "path": f"{k}.jpg"} for k, m in enumerate(MAPS)],
        mask: [{"bytes": encoded(m), "path": None} for m in MAPS],
        **{name: values for name, (values, _) in more.items()},
    }
    features = {image: datasets.Image(), mask: datasets.Image(), **{name: f for name, (_, f) in more.items()}}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


CLASSES = ([[0, 1, 2], [1]], datasets.List(datasets.ClassLabel(names=NAMES)))
SCENE = ([1, 0], datasets.ClassLabel(names=["town", "field"]))


def maps(dataset: Dataset) -> list[list[list[int]]]:
    return [sample.label_map(dataset.labels).tolist() for sample in dataset]


@pytest.mark.parametrize("stored", ["parquet", "data", "alone", "disk", "parts", "pandas"])
def test_what_the_library_saves(tmp_path: Path, stored: str) -> None:
    made, path = rows(classes=CLASSES, scene=SCENE), tmp_path / "x"
    path.mkdir()
    if stored == "parquet":
        made.to_parquet(path / "train.parquet")
    elif stored == "data":
        for k in range(2):
            made.select([k]).to_parquet(path / "data" / f"train-{k:05d}-of-00002.parquet")
    elif stored == "alone":
        path /= "any.parquet"
        made.to_parquet(path)
    elif stored == "disk":
        made.save_to_disk(path)
    elif stored == "parts":
        datasets.DatasetDict({"train": made.select([0]), "test": made.select([1])}).save_to_disk(path)
    else:  # no features of the library's in the file
        table = made.data.table.replace_schema_metadata(None)
        library("pyarrow.parquet").write_table(table, path / "x.parquet")
    assert anywhere.detect(path) == "huggingface"
    assert anywhere.splits(path) == (("train", "test") if stored == "parts" else ())
    dataset = anywhere.read(path)
    assert maps(dataset) == [m.tolist() for m in MAPS]
    assert (dataset.count, [sample.id for sample in dataset]) == (2, ["0", "1"])
    assert [sample.image.read_bytes() for sample in dataset] == [photo(m.shape) for m in MAPS]
    if stored == "pandas":
        assert [label.name for label in dataset.labels.labels] == ["class 0", "class 1", "class 2"]
        assert "name them in a labels.txt in it" in "".join(dataset.notes.lines())
    else:
        assert [label.name for label in dataset.labels.labels] == NAMES
        assert [dict(sample.attributes) for sample in dataset] == [{"scene": "field"}, {"scene": "town"}]
    assert convert(path, tmp_path / "out", "coco", verify=True).verified == 2


def test_a_list_beside_names_the_classes(tmp_path: Path) -> None:
    rows(mask="label").to_parquet(tmp_path / "train.parquet")
    (tmp_path / "id2label.json").write_text('{"0": "a", "1": "b", "2": "c"}')
    assert [label.name for label in huggingface.read(tmp_path).labels.labels] == ["a", "b", "c"]
    given = LabelSet.from_names(["x", "y", "z"])
    assert huggingface.read(tmp_path, labels=given).labels == given


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_an_imagefolder_is_read_as_the_library_reads_it(tmp_path: Path, kind: str) -> None:
    for part in ("train", "test"):
        lines = ["file_name,mask_file_name,weather"]
        for k, m in enumerate(MAPS):
            (tmp_path / part / "m").mkdir(parents=True, exist_ok=True)
            (tmp_path / part / f"{part}{k}.jpg").write_bytes(photo(m.shape))
            (tmp_path / part / "m" / f"{k}.png").write_bytes(encoded(m))
            row = {"file_name": f"{part}{k}.jpg", "mask_file_name": f"m/{k}.png", "weather": "rain"}
            lines.append(json.dumps(row) if kind == "jsonl" else ",".join(row.values()))
        (tmp_path / part / f"metadata.{kind}").write_text("\n".join(lines[kind == "jsonl" :]) + "\n")
    assert anywhere.detect(tmp_path) == "huggingface"
    assert anywhere.splits(tmp_path) == ("test", "train")
    dataset = anywhere.read(tmp_path)
    ours = {sample.id: (sample.label_map(dataset.labels).tolist(), dict(sample.attributes)) for sample in dataset}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the library leaves the table open
        theirs = read_by_the_library(tmp_path)
        gc.collect()
    assert ours == theirs


def read_by_the_library(path: Path) -> dict[str, Any]:
    found = datasets.load_dataset("imagefolder", data_dir=str(path), streaming=True)
    return {
        f"{part}/{Path(row['image'].filename).stem}": (np.array(row["mask"]).tolist(), {"weather": row["weather"]})
        for part in ("train", "test")
        for row in found[part]
    }


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    labels = LabelSet((Label(0, "background"), Label(1, "car", (9, 8, 7)), Label(4, "road")), 255, 0)
    masks = [m == k for m in MAPS[:1] for k in (1, 2)]
    image = ImageRef("sub/a.jpg", photo((3, 4)))
    runs = RunList.from_masks(masks, height=3, width=4)
    sample = Sample("a", image, runs, (Region(1, score=0.5), Region(4)))
    huggingface.write(Dataset(labels, [sample], split="val"), tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["val"]
    (row,) = found["val"]
    assert np.array(row["mask"]).tolist() == sample.label_map(labels).tolist()
    assert (row["image"].size, row["image"].mode) == ((4, 3), "RGB")
    names = found["val"].features["classes"].feature.names
    assert ([names[k] for k in row["classes"]], names[0], len(names)) == (["car", "road"], "background", 256)
    undecoded = found["val"].cast_column("image", datasets.Image(decode=False))
    assert undecoded[0]["image"]["bytes"] == photo((3, 4))
    # On to anywhere, saved by the library.
    found["val"].save_to_disk(tmp_path / "disk")
    (after,) = huggingface.read(tmp_path / "disk")
    assert after.masks == sample.masks
    assert [(r.label, r.score) for r in after.regions] == [(1, 0.5), (4, None)]


def test_a_mask_that_was_painted_over_counts(tmp_path: Path) -> None:
    labels = LabelSet.from_names(NAMES)
    runs = RunList.from_masks([MAPS[0] == 1, MAPS[0] == 2], height=3, width=4)
    sample = Sample("a", ImageRef("a.jpg", photo((3, 4))), runs, (Region(1), Region(2)))
    over = RunList.from_masks([MAPS[0] < 2, MAPS[0] == 1], height=3, width=4)
    both = [sample, Sample("b", ImageRef("b.jpg", photo((3, 4))), over, (Region(1), Region(2)))]
    huggingface.write(Dataset(labels, both), tmp_path / "out")
    (file,) = (tmp_path / "out" / "data").glob("*.parquet")
    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    found = datasets.load_dataset("parquet", data_files=str(file), **options)
    mirrored = found.map(lambda row: {"mask": row["mask"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)})
    mirrored.to_parquet(file)
    dataset = huggingface.read(tmp_path / "out", on_error="skip")
    (after,) = dataset
    assert after.label_map(labels).tolist() == sample.label_map(labels)[:, ::-1].tolist()
    assert "not the one that 'maskloop' was written with" in "".join(dataset.skipped.lines())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (rows(mask="depth"), None),  # two pictures: what is not the image is the mask
        (rows(image="left", mask="right"), r"cannot tell which column is the image.* left, right.*--image-column"),
        (
            rows(mask="depth", x=([None] * 2, datasets.Image())),
            r"which column is the mask.*image, depth, x.*--mask-column",
        ),
        (rows().remove_columns("annotation"), r"cannot tell which column is the mask.*there are: image;"),
    ],
)
def test_which_column_is_which(tmp_path: Path, made: Any, message: str | None) -> None:
    made.to_parquet(tmp_path / "x.parquet")
    if message is None:
        assert maps(huggingface.read(tmp_path)) == [m.tolist() for m in MAPS]
        return
    with pytest.raises(FormatError, match=message):
        huggingface.read(tmp_path)
    if "left" in made.features:
        chosen = huggingface.read(tmp_path, image_column="left", mask_column="right")
        assert maps(chosen) == [m.tolist() for m in MAPS]
    with pytest.raises(FormatError, match="no column 'nope' holds pictures"):
        huggingface.read(tmp_path, image_column="nope")


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(MAPS[0]))
    made = rows(image="image", mask="mask")
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    writing = library("datasets.arrow_writer")
    (tmp_path / "rows").mkdir()
    elsewhere = {"bytes": None, "path": str(secret)}
    for name, mask in (("image", {"bytes": encoded(MAPS[0]), "path": None}), ("mask", elsewhere)):
        with writing.ParquetWriter(path=str(tmp_path / "rows" / "x.parquet"), features=features) as writer:
            writer.write({"image": elsewhere, "mask": mask})
            writer.finalize()
        dataset = huggingface.read(tmp_path / "rows", labels=LabelSet.from_names(NAMES), on_error="skip")
        if name == "image":
            assert [sample.image.source for sample in dataset] == [None]
        else:
            assert list(dataset) == []
            assert "there is no mask" in "".join(dataset.skipped.lines())
    made.save_to_disk(tmp_path / "linked")
    state = tmp_path / "linked" / "state.json"
    state.write_text(state.read_text().replace('"data-', '"../disk/data-'))
    with pytest.raises(FormatError, match=r"no file '\.\./disk/data-.*' in the folder"):
        huggingface.read(tmp_path / "linked")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "metadata.jsonl").write_text('{"file_name": "../secret.png", "mask_file_name": "../secret.png"}\n')
    with pytest.raises(FormatError, match=r"file_name leads out of the folder"):
        huggingface.read(folder)


def test_overwriting_spares_what_is_not_ours(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "train.parquet")
    convert(tmp_path / "train.parquet", tmp_path / "out", "huggingface", source_format="huggingface")
    convert(tmp_path / "train.parquet", tmp_path / "out", "huggingface", overwrite=True)
    (tmp_path / "out" / "data" / "notes.md").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.md"):
        convert(tmp_path / "train.parquet", tmp_path / "out", "huggingface", overwrite=True)


def test_a_drawn_dataset_is_one_for_the_library_too(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "train.parquet")
    convert(tmp_path / "train.parquet", tmp_path / "out", "huggingface", split=(50, 50), verify=True)
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {part: len(found[part]) for part in found} == {"train": 1, "validation": 1}


def test_without_the_library_the_way_out_is_said(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "train.parquet")
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "import maskloop_converters as mc\nfrom maskloop_converters.errors import FormatError\n"
        "try:\n    mc.read(sys.argv[1])\nexcept FormatError as error:\n    print(error)\n"
    )
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert "pip install 'maskloop[huggingface]'" in done.stdout


def test_the_library_is_told_to_stay_off_the_network() -> None:
    code = (
        "from maskloop_converters.formats.huggingface.library import library\n"
        "print(library('datasets.config').HF_HUB_OFFLINE, library('huggingface_hub.constants').HF_HUB_DISABLE_TELEMETRY)"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["True", "True"]


def test_nothing_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    """Nor is there any need of one: the home of a server's user may be read-only."""
    rows().to_parquet(tmp_path / "train.parquet")
    (tmp_path / "home").write_text("no folder")
    code = "import sys, maskloop_converters as mc; print(len(list(mc.read(sys.argv[1]))))"
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "2"
    assert (tmp_path / "home").read_text() == "no folder"


def test_the_library_sets_a_dataset_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows().to_parquet(str(tmp_path / "train.parquet"))
    load, asked = datasets.load_dataset, []

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        return load(*arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", counted)
    found = huggingface.read(tmp_path)
    assert maps(found) == maps(found) == [m.tolist() for m in MAPS]
    assert len(asked) == 1
