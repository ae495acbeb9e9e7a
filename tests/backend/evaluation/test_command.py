"""`maskloop evaluate` with a real network, on the same labels in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import maskloop_converters as mc
from maskloop_backend.cli.main import cli
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_converters.samples import Dataset, ImageRef, LabelSet, Region, Sample

NAMES = ["sky", "road", "car"]
FORMATS = {"png": {}, "coco": {}, "tfrecord": {}, "labelstudio": {}}


def bundle(seed: int, names: list[str]) -> Bundle:
    keras.utils.set_random_seed(seed)
    architecture = Architecture(len(names), "small")
    model = build_fcn(architecture)
    random = np.random.default_rng(seed)
    model.get_layer("score").set_weights([random.normal(0, 0.5, (1, 1, 192, len(names))), np.zeros(len(names))])
    return Bundle.create(model, architecture, LabelSet.from_names(names))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions with the same classes, the first one served, and one with others."""
    registry = Registry(tmp_path_factory.mktemp("home"))
    for seed, names in ((7, NAMES), (8, NAMES), (9, ["Sky", "lane"])):
        registry.add(bundle(seed, names))
    ours = [version for version in registry.versions() if registry.record(version).labels.classes[0].name == "sky"]
    registry.promote(ours[0])
    return registry


@pytest.fixture(scope="module")
def other(registry: Registry) -> str:
    return next(
        version
        for version in registry.versions()
        if version != registry.serving() and registry.record(version).labels.classes[0].name == "sky"
    )


@pytest.fixture(scope="module")
def dataset(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three pictures, labelled as the served version does it but for a corner."""
    folder = tmp_path_factory.mktemp("pictures")
    predictor = Predictor(registry.load(registry.serving() or ""))
    samples = []
    for k in range(3):
        coarse = np.random.default_rng(k).integers(0, 256, (5, 6, 3), np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((96, 64 + k), Image.Resampling.BICUBIC))
        Image.fromarray(image).save(folder / f"{k}.png")
        (prediction,) = predictor.predict([image])
        target = prediction.label_map.copy()
        target[:20, :30] = k
        ids, masks = mc.RunList.from_label_map(target)
        regions = tuple(Region(int(label)) for label in ids)
        samples.append(Sample(str(k), ImageRef(f"{k}.png", folder / f"{k}.png"), masks, regions))
    return Dataset(LabelSet.from_names(NAMES), samples)


@pytest.fixture(scope="module")
def written(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    for name, options in FORMATS.items():
        mc.write(dataset, folder / name, name, **options)
    return {name: folder / name for name in FORMATS}


def run(registry: Registry, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--home", str(registry.home)])


def test_figures_are_those_of_keras_in_every_format(
    registry: Registry, dataset: Dataset, written: dict[str, Path]
) -> None:
    samples = list(dataset)
    images = [np.asarray(Image.open(str(sample.image.source))) for sample in samples]
    predictions = Predictor(registry.load(registry.serving() or "")).predict(images)
    truth = np.concatenate([sample.label_map(dataset.labels).ravel() for sample in samples])
    guess = np.concatenate([prediction.label_map.ravel() for prediction in predictions])
    oracle = keras.metrics.MeanIoU(3)
    oracle.update_state(truth, guess)
    found: dict[str, Any] = {}
    for name, path in written.items():
        done = run(registry, path, "--json")
        assert done.exit_code == 0, done.output
        found[name] = json.loads(done.stdout)
        assert found[name]["miou"]["value"] == pytest.approx(float(oracle.result()), rel=1e-6)
        assert found[name]["pixel_accuracy"]["value"] == pytest.approx(float((truth == guess).mean()))
        by_name = {row: dict(zip(found[name]["labels"], line, strict=False)) for row, line in
                   zip(found[name]["labels"], found[name]["confusion"], strict=True)}  # fmt: skip
        for k, row in enumerate(NAMES):
            for j, column in enumerate(NAMES):
                assert by_name[row][column] == ((truth == k) & (guess == j)).sum()
    assert found["png"]["version"] == registry.serving()


def test_words_a_report_and_another_version(
    registry: Registry, written: dict[str, Path], other: str, tmp_path: Path
) -> None:
    done = run(registry, other, written["png"], "--against", str(registry.serving()), "--report", tmp_path / "r")
    assert done.exit_code == 0, done.output
    for text in (f"{other} on 3 image(s)", "mIoU", "calibration error", f"against {registry.serving()}", "car"):
        assert text in done.stdout
    values = json.loads((tmp_path / "r" / "report.json").read_text("utf-8"))
    assert values["against"]["miou"]["difference"] < 0
    assert f"{values['miou']['value']:.3f}" in done.stdout
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    again = run(registry, written["png"], "--report", tmp_path / "r")
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_part_of_a_dataset(registry: Registry, dataset: Dataset, tmp_path: Path) -> None:
    samples = list(dataset)
    for part, chosen in (("train", samples[:2]), ("val", samples[2:])):
        mc.write(Dataset(dataset.labels, chosen), tmp_path / "d" / part, "png")
    for part, count in (("train", 2), ("val", 1)):
        done = run(registry, tmp_path / "d", "--split", part, "--json")
        assert json.loads(done.stdout)["images"] == count


def test_predictions_in_label_studio_are_no_labels(registry: Registry, dataset: Dataset, tmp_path: Path) -> None:
    mc.write(dataset, tmp_path / "tasks", "labelstudio", kind="predictions-only")
    done = run(registry, tmp_path / "tasks")
    assert done.exit_code == 1
    assert "holds no sample" in done.stderr


def test_nothing_in_common_is_said_with_its_fix(registry: Registry, written: dict[str, Path]) -> None:
    strange = next(
        version for version in registry.versions() if registry.record(version).labels.classes[0].name == "Sky"
    )
    for arguments in ([strange, written["png"]], [written["png"], "--against", strange]):
        done = run(registry, *arguments)
        assert done.exit_code == 1
        assert "Error: no class of" in done.stderr
        assert "--map sky=Sky?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give a DATASET, or a VERSION and a DATASET"),
        (["a", "b", "c"], 2, "give a DATASET"),
        (["fcn32s-small-20260101-00000000"], 2, "there is no dataset fcn32s-small-20260101-00000000"),
        (["fcn32s-small-20260101-00000000", "{png}"], 1, "there is no model version"),
        (["{png}", "--against", "fcn32s-small-20260101-00000000"], 1, "there is no model version"),
        (["{png}", "--split", "test"], 1, "test"),
        (["{png}", "--format", "coco"], 1, "no COCO file"),
    ],
)
def test_what_does_not_go_is_said(
    registry: Registry, written: dict[str, Path], arguments: list[str], code: int, message: str
) -> None:
    done = run(registry, *(argument.format(**written) for argument in arguments))
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_no_version_is_served(written: dict[str, Path], tmp_path: Path) -> None:
    done = run(Registry(tmp_path), written["png"])
    assert done.exit_code == 2
    assert "no version is served" in done.stderr
