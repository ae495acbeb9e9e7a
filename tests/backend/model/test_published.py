"""The authors' networks against another implementation of their layers: OpenCV's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from maskloop_backend.model.backbones import vgg
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn, split_network
from maskloop_backend.model.published import DATASETS, import_caffemodel
from maskloop_backend.model.weights.errors import WeightsError

_spec = importlib.util.spec_from_file_location("caffe_writer", Path(__file__).parent / "weights" / "caffe_writer.py")
assert _spec is not None
assert _spec.loader is not None
writer: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writer)

NARROW = ((2, 4), (2, 6), (3, 8), (3, 10), (3, 12))
HEAD = 16
NAMES = ["road", "car", "sky"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG16's layers with few channels: the whole one is 500 MB."""
    monkeypatch.setitem(vgg.PLANS, "vgg16", vgg.Plan(NARROW, normalise=False, head_kernel=7, head_width=HEAD))


def saved(folder: Path, stride: int, **options: Any) -> tuple[Any, Path]:
    network = writer.Network(stride, len(NAMES), NARROW, HEAD, **options)
    path = folder / "net.caffemodel"
    path.write_bytes(network.caffemodel())
    return network, path


def logits(bundle: Bundle, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(bundle.model(image[None], training=False)))[0]


def expected_logits(network: Any, image: NDArray[np.uint8], mean: tuple[float, ...]) -> NDArray[np.float32]:
    """OpenCV's logits, (H, W, K)."""
    net = cv2.dnn.readNetFromCaffe(
        np.frombuffer(network.prototxt(*image.shape[:2]), np.uint8), np.frombuffer(network.caffemodel(), np.uint8)
    )
    bgr = image[..., ::-1].astype(np.float32) - np.array(mean, np.float32)
    net.setInput(bgr.transpose(2, 0, 1)[None])
    return np.asarray(net.forward("score"))[0].transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("stride", "options"),
    [
        (32, {}),
        (16, {"dense": True}),
        (8, {}),
        (8, {"scales": True, "dense": True}),
        (8, {"ending": "_sem"}),
        (32, {"ending": "_sem", "dense": True}),
    ],
)
def test_the_logits_are_those_of_opencv(tmp_path: Path, stride: int, options: dict[str, Any]) -> None:
    network, path = saved(tmp_path, stride, **options)
    bundle = import_caffemodel(path, names=NAMES)
    assert bundle.record.architecture.upsampling == ("dense" if options.get("dense") else "per_class")
    assert bundle.record.architecture.stride == stride
    random = np.random.default_rng(1)
    for size in ((1, 1), (37, 53), (64, 96), (75, 101), (130, 31)):
        image = random.integers(0, 256, (*size, 3), np.uint8)
        expected = expected_logits(network, image, bundle.record.preprocessing.mean)
        found = logits(bundle, image)
        assert found.shape == (*size, len(NAMES))
        assert expected.std() > 0.1 or size == (1, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_imported_version_is_saved_loaded_and_cut_in_two(tmp_path: Path) -> None:
    _, path = saved(tmp_path, 8)
    bundle = import_caffemodel(path, names=NAMES).save(tmp_path / "version")
    assert bundle.version.startswith("fcn8s-vgg16-")
    again = Bundle.load(tmp_path / "version")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    np.testing.assert_array_equal(logits(again, image), logits(bundle, image))
    assert [label.name for label in again.labels.classes] == NAMES
    front, rest = split_network(again.model, "block5_pool")
    parts = ops.convert_to_numpy(rest(front(image[None].astype("float32"), training=False), training=False))
    np.testing.assert_allclose(parts[0], logits(bundle, image), rtol=1e-4, atol=1e-4)


def test_the_datasets_classes_and_means() -> None:
    assert {name: len(entry.names) for name, entry in DATASETS.items()} == {
        "voc": 21,
        "pascal-context": 60,
        "sift-flow": 33,
        "nyud": 40,
    }
    assert DATASETS["voc"].names[15] == "person"
    assert DATASETS["pascal-context"].names[54] == "tree"
    assert DATASETS["sift-flow"].names[27] == "sky"
    assert DATASETS["nyud"].names[3] == "bed"


def test_a_file_says_by_its_classes_what_it_was_trained_on(tmp_path: Path) -> None:
    network = writer.Network(32, 21, NARROW, HEAD)
    (tmp_path / "voc.caffemodel").write_bytes(network.caffemodel())
    record = import_caffemodel(tmp_path / "voc.caffemodel").record
    assert record.labels.classes[7].name == "car"
    assert (record.labels.background_id, record.labels.ignore_id) == (0, 255)
    assert record.preprocessing.mean == (104.00699, 116.66877, 122.67892)


@pytest.mark.slow
def test_the_published_numbers_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """134,346,581 of voc-fcn32s without its upsampling, 1.8 M more with it."""
    monkeypatch.undo()
    for stride, more in ((32, 0), (8, 21 * (512 + 256 + 2))):
        model = build_fcn(Architecture(21, "vgg16", stride=stride, padding="caffe"), blank=True)
        upsampling = {32: 21 * 21 * 64 * 64, 8: 21 * 21 * (4 * 4 * 2 + 16 * 16)}[stride]
        assert model.count_params() == 134_346_581 + more + upsampling


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (lambda arrays: None, None, r"3 classes, and none of the datasets has so many.*voc 21.*--names"),
        (lambda arrays: None, ["a"], "3 classes, but 1 names were given"),
        (lambda arrays: arrays.pop("upscore"), NAMES, "expected an FCN-32s, 16s or 8s on VGG16"),
        (lambda arrays: arrays.pop("conv1_1"), NAMES, "expected an FCN-32s.*it has: conv1_2"),
        (lambda arrays: arrays.pop("fc7"), NAMES, r"layer fc7 has blobs of shape \[\], expected kernel and bias"),
        (
            lambda arrays: arrays.update(fc7=[np.zeros((5, HEAD, 1, 1)), np.zeros(5)]),
            NAMES,
            r"fc7 has a kernel of shape \(1, 1, 16, 5\), expected \(1, 1, 16, 16\)",
        ),
        (
            lambda arrays: arrays.update(upscore=[np.zeros((3, 2, 64, 64))]),
            NAMES,
            "upscore has blobs.*expected one kernel",
        ),
        (lambda arrays: arrays.update(upscore=[np.zeros((3, 3, 4, 4))]), NAMES, "upscore has a kernel of shape"),
    ],
)
def test_other_networks_are_refused_by_what_they_lack(
    tmp_path: Path, change: Any, names: list[str] | None, message: str
) -> None:
    network, path = saved(tmp_path, 32)
    change(network.arrays)
    path.write_bytes(network.caffemodel())
    with pytest.raises(WeightsError, match=message) as caught:
        import_caffemodel(path, names=names)
    assert str(path) in str(caught.value)
