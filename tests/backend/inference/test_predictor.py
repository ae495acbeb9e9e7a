"""Images in, label maps and confidences out, against the network called by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from PIL import Image

from maskloop_backend.inference import predictor as predictor_module
from maskloop_backend.inference.edges import refined
from maskloop_backend.inference.prediction import Segmenter
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.inference.runtimes.keras_runtime import KerasRuntime
from maskloop_backend.inference.runtimes.protocol import cpu_has_bfloat16
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_converters.errors import DataError
from maskloop_converters.samples import LabelSet

Pixels = NDArray[np.uint8]


def make_bundle(max_side: int | None = None, zoom: float = 1.0) -> Bundle:
    keras.utils.set_random_seed(7)
    architecture = Architecture(4, "small")
    model = build_fcn(architecture)
    # drawn at random, so that every class appears and confidences spread
    random = np.random.default_rng(7)
    model.get_layer("score").set_weights([random.normal(0, 0.5, (1, 1, 192, 4)), np.zeros(4)])
    return Bundle.create(model, architecture, LabelSet.from_names(["a", "b", "c", "d"]), max_side=max_side, zoom=zoom)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle, precision="float32")


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth patches of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def by_hand(bundle: Bundle, image: Pixels) -> tuple[NDArray[Any], NDArray[Any]]:
    """Softmax probabilities, float64 (H, W, K), sorted out in NumPy: the label map and its probability."""
    logits = ops.convert_to_numpy(bundle.model(image[None], training=False))[0].astype(float)
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exp / exp.sum(-1, keepdims=True)
    return probabilities.argmax(-1), probabilities.max(-1)


def assert_same(labels: Pixels, expected: NDArray[Any], *, differing: float = 0.001) -> None:
    """Pixels where two classes are within rounding of each other may fall either way."""
    assert labels.shape == expected.shape
    assert np.mean(labels != expected) <= differing


@pytest.mark.parametrize("size", [(1, 1), (20, 90), (64, 96), (97, 131)])
def test_a_prediction_is_the_network_s_softmax(bundle: Bundle, predictor: Predictor, size: tuple[int, int]) -> None:
    image = picture(*size)
    labels, probability = by_hand(bundle, image)
    (prediction,) = predictor.predict([image])
    assert prediction.label_map.dtype == prediction.confidence.dtype == np.uint8
    assert_same(prediction.label_map, labels)
    np.testing.assert_allclose(prediction.confidence, probability * 255, atol=0.6)
    least = np.sort(probability.ravel())[: max(1, round(probability.size / 10))]
    assert prediction.score == pytest.approx(least.mean(), abs=0.003)


def test_the_pictures_show_every_class(predictor: Predictor) -> None:
    """Else the tests here would compare constants."""
    seen = {k for p in predictor.predict([picture(97, 131, s) for s in range(4)]) for k in np.unique(p.label_map)}
    assert len(seen) >= 3


def test_a_batch_of_many_sizes_keeps_order_and_results(predictor: Predictor) -> None:
    sizes = [(64, 64), (40, 33), (64, 64), (50, 60), (200, 10), (64, 64), (33, 40)]
    images = [picture(*size, seed=i) for i, size in enumerate(sizes)]
    together = predictor.predict(images)
    for image, prediction in zip(images, together, strict=True):
        (alone,) = predictor.predict([image])
        assert_same(prediction.label_map, alone.label_map)
        np.testing.assert_allclose(prediction.confidence, alone.confidence.astype(int), atol=1)


def test_more_images_than_a_batch_holds(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(64, 64, seed=i) for i in range(5)]
    expected = predictor.predict(images)
    monkeypatch.setattr("maskloop_backend.inference.predictor._BATCH_PIXELS", 2 * 64 * 64)
    for found, wanted in zip(predictor.predict(images), expected, strict=True):
        assert_same(found.label_map, wanted.label_map)
    # one compiled shape for every incomplete batch
    monkeypatch.setattr(KerasRuntime, "static_shapes", True)
    for found, wanted in zip(predictor.predict(images), expected, strict=True):
        assert_same(found.label_map, wanted.label_map)


def test_no_images_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize("size", [(500, 70), (333, 401), (320, 640)])
def test_tiles_with_enough_overlap_give_the_whole_image_s_result(bundle: Bundle, size: tuple[int, int]) -> None:
    image = picture(*size)
    (whole,) = Predictor(bundle, precision="float32").predict([image])
    (tiled,) = Predictor(bundle, precision="float32", tile=384 - 32, overlap=320).predict([image])
    assert_same(tiled.label_map, whole.label_map)
    np.testing.assert_allclose(tiled.confidence, whole.confidence.astype(int), atol=1)


def test_tiles_with_little_overlap_cover_every_pixel(bundle: Bundle) -> None:
    image = picture(333, 401)
    (whole,) = Predictor(bundle, precision="float32").predict([image])
    (tiled,) = Predictor(bundle, precision="float32", tile=128, overlap=32).predict([image])
    assert_same(tiled.label_map, whole.label_map, differing=0.3)
    assert tiled.label_map.max() < 4


def test_a_large_image_is_shrunk_and_its_logits_enlarged(bundle: Bundle) -> None:
    image = picture(300, 500)
    small = np.asarray(Image.fromarray(image).resize((200, 120), Image.Resampling.BILINEAR))
    logits = ops.convert_to_numpy(bundle.model(small[None], training=False))
    expected = ops.convert_to_numpy(ops.image.resize(logits, (300, 500), interpolation="bilinear"))[0].argmax(-1)
    (prediction,) = Predictor(bundle, max_side=200, precision="float32").predict([image])
    assert_same(prediction.label_map, expected)
    images = [picture(300, 500, seed=1), picture(90, 90), image]
    assert_same(Predictor(bundle, max_side=200, precision="float32").predict(images)[2].label_map, expected)


@pytest.mark.parametrize("max_side", [None, 100])
def test_a_zoom_shows_the_network_images_larger(max_side: int | None) -> None:
    zoomed = make_bundle(max_side, 1.5)
    image = picture(90, 200)
    size = (300, 135) if max_side is None else (150, 68)
    seen = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    logits = ops.convert_to_numpy(zoomed.model(seen[None], training=False))
    # not keras.ops.image.resize, which widens its filter where a map becomes smaller
    planes = [cv2.resize(logits[0, ..., k], (200, 90), interpolation=cv2.INTER_LINEAR) for k in range(4)]
    (prediction,) = Predictor(zoomed, precision="float32").predict([image])
    # two libraries that resize round otherwise
    assert_same(prediction.label_map, np.stack(planes, axis=-1).argmax(-1), differing=0.005)


def test_images_that_are_large_are_not_shown_larger() -> None:
    image = picture(1100, 1100)
    labels = [Predictor(make_bundle(zoom=zoom), precision="float32").predict([image])[0].label_map for zoom in (1, 1.5)]
    np.testing.assert_array_equal(*labels)


def test_the_record_says_how_far_to_shrink() -> None:
    image = picture(150, 100)
    recorded, asked, never = (
        Predictor(make_bundle(64), precision="float32"),
        Predictor(make_bundle(), max_side=64, precision="float32"),
        Predictor(make_bundle(64), max_side=None, precision="float32"),
    )
    label_maps = [p.predict([image])[0].label_map for p in (recorded, asked, never)]
    np.testing.assert_array_equal(label_maps[0], label_maps[1])
    assert not np.array_equal(label_maps[0], label_maps[2])


def test_bfloat16_agrees_with_float32(bundle: Bundle, predictor: Predictor) -> None:
    image = picture(97, 131)
    reduced = Predictor(bundle, precision="bfloat16")
    assert reduced.precision == "bfloat16"
    assert_same(reduced.predict([image])[0].label_map, predictor.predict([image])[0].label_map, differing=0.05)
    # the bundle's own model was not touched
    assert bundle.model.get_layer("fc6").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("flags\t: fpu avx512_bf16 x\n", True), ("flags : amx_bf16", True), ("flags : avx512f", False), ("", False)],
)
def test_the_processor_s_flags_are_read(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected
    assert cpu_has_bfloat16(tmp_path / "missing") is False


def test_threads_may_share_it(predictor: Predictor) -> None:
    images = [picture(40 + i, 64, seed=i) for i in range(8)]
    expected = [predictor.predict([image])[0].label_map for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: predictor.predict([image])[0].label_map, images * 2))
    for labels, wanted in zip(found, expected * 2, strict=True):
        np.testing.assert_array_equal(labels, wanted)


def test_broken_weights_give_zero_confidence_not_nan() -> None:
    bundle = make_bundle()
    bundle.model.get_layer("score").set_weights([np.full((1, 1, 192, 4), np.nan), np.zeros(4)])
    (prediction,) = Predictor(bundle, precision="float32").predict([picture(40, 40)])
    assert prediction.confidence.max() == 0
    assert prediction.score == 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"image 1: expected uint8 .* got uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3)), "got float64"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(predictor: Predictor, image: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        predictor.predict([picture(4, 4), image])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_side": 0}, r"max_side .* got 0"),
        ({"max_side": 2000}, r"1\.\.1536"),
        ({"tile": 100}, "multiples of 32"),
        ({"overlap": 1536}, "overlap < tile"),
        ({"precision": "int8"}, "int8 wants --runtime openvino"),
        ({"precision": "int4"}, "no precision 'int4'"),
    ],
)
def test_impossible_options_are_refused(bundle: Bundle, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictor(bundle, **options)


def test_it_is_a_segmenter(predictor: Predictor, bundle: Bundle, tmp_path: Path) -> None:
    segmenter: Segmenter = predictor
    assert segmenter.version == ""
    assert segmenter.labels == bundle.labels
    saved = bundle.save(tmp_path / "v")
    assert Predictor(saved).version == saved.version


def test_jax_predicts_the_same(bundle: Bundle, predictor: Predictor, tmp_path: Path) -> None:
    bundle.save(tmp_path / "v")
    images = [picture(45, 70, 1), picture(64, 96, 2), picture(50, 80, 3)]
    np.savez(tmp_path / "images.npz", *images)
    script = """
import sys
from pathlib import Path
import numpy as np
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
folder = Path(sys.argv[1])
images = list(np.load(folder / "images.npz").values())
bundle = Bundle.load(folder / "v")
found = Predictor(bundle).predict(images) + Predictor(bundle, max_side=48).predict(images)
np.savez(folder / "found.npz", *[p.label_map for p in found])
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    found = list(np.load(tmp_path / "found.npz").values())
    expected = predictor.predict(images) + Predictor(bundle, max_side=48, precision="float32").predict(images)
    for labels, prediction in zip(found, expected, strict=True):
        assert_same(labels, prediction.label_map, differing=0.005)


def test_edges_move_label_maps_and_leave_confidences(bundle: Bundle) -> None:
    images = [picture(64, 96), picture(90, 70)]
    plain = Predictor(bundle, precision="float32").predict(images)
    moved = Predictor(bundle, precision="float32", edges=True).predict(images)
    for image, before, after in zip(images, plain, moved, strict=True):
        np.testing.assert_array_equal(after.label_map, refined(image, before.label_map))
        np.testing.assert_array_equal(after.confidence, before.confidence)
        assert (after.label_map != before.label_map).any()


class Nothing:
    """A runtime that finds class 0 everywhere, in no memory worth speaking of."""

    name, precision, static_shapes = "keras", "float32", False

    def start_stretch(self) -> None:
        """Nothing is kept."""

    def labels(self, images: Pixels) -> tuple[Pixels, Pixels]:
        return (np.zeros(images.shape[:3], np.uint8),) * 2

    def enlarged(self, images: Pixels, inner: Any, height: int, width: int) -> tuple[Pixels, Pixels]:
        return (np.zeros((len(images), height, width), np.uint8),) * 2


@pytest.mark.parametrize("max_side", [None, 512])
def test_a_large_image_is_not_copied(bundle: Bundle, max_side: int | None) -> None:
    """Beside it, its label map and confidence are in memory, and as much again for the score; no padded copy of it."""
    image = np.zeros((3001, 4003, 3), np.uint8)
    predictor = Predictor(bundle, runtime=Nothing(), max_side=max_side)
    tracemalloc.start()
    try:
        predictor.predict([image])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4.8 * image.size / 3


@pytest.mark.parametrize("size", [(301, 997), (997, 301), (640, 480)])
@pytest.mark.parametrize("target", [(97, 131), (300, 33), (3, 5)])
def test_strips_shrink_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], target: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole = np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))
    monkeypatch.setattr(predictor_module, "_STRIP_PIXELS", 20_000)
    found = predictor_module._resized(image, *target)
    # noise is the worst case of rounding
    np.testing.assert_allclose(found, whole.astype(int), atol=1)
    assert abs(np.mean(found - whole.astype(float))) < 0.1


def test_tiles_can_be_taken_step_by_step(bundle: Bundle) -> None:
    tiled = Predictor(bundle, precision="float32", tile=64, overlap=32)
    image = picture(200, 130)
    steps = tiled.steps([image])
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as done:
            (stepwise,) = done.value
            break
    (whole,) = tiled.predict([image])
    assert count >= 1
    np.testing.assert_array_equal(stepwise.label_map, whole.label_map)
    np.testing.assert_array_equal(stepwise.confidence, whole.confidence)
    assert stepwise.score == whole.score
