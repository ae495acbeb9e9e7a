"""A head fitted to a few images within seconds: from the version's own weights each time, and earlier fits stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.demo.labels import LABELS
from maskloop_backend.demo.scenes import scenes
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.training.refitting import HeadFitter, Kept
from maskloop_backend.training.settings import TrainingSettings
from maskloop_converters.errors import DataError
from maskloop_converters.samples import Label, LabelSet

SIZE = (64, 96)
FEWER = LabelSet(LABELS.labels[:4])


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A network with random features and scores, of two strides, for four classes."""
    keras.utils.set_random_seed(0)
    architecture = Architecture(len(FEWER.classes), backbone="small", stride=16, dropout=0.0)
    model = build_fcn(architecture)
    for name in ("score", "score_16"):
        layer = model.get_layer(name)
        layer.set_weights([np.random.default_rng(0).normal(0, 0.1, w.shape) for w in layer.get_weights()])
    made = Bundle.create(model, architecture, FEWER)
    return Bundle(model, dataclasses.replace(made.record, version="v1"))


@pytest.fixture(scope="module")
def fitter(bundle: Bundle) -> HeadFitter:
    return HeadFitter(bundle, LABELS, TrainingSettings("small"))


@pytest.fixture(scope="module")
def images(fitter: HeadFitter) -> list[Kept]:
    # of two sizes: a batch has one
    drawn = [*scenes(2, 0, SIZE), *scenes(1, 5, (64, 64))]
    return [fitter.kept(str(k), one.image, one.mask, wait) for k, one in enumerate(drawn)]


def wait(spent: float) -> None:
    """Wait for nobody."""
    assert spent >= 0


def right(predictor: Predictor) -> float:
    """Return the share of pixels that are right on the images that were learned from."""
    drawn = list(scenes(2, 0, SIZE))
    maps = [one.label_map for one in predictor.predict([one.image for one in drawn])]
    return float(np.mean([(found == one.mask).mean() for found, one in zip(maps, drawn, strict=True)]))


def masks(predictor: Predictor) -> NDArray[np.uint8]:
    return predictor.predict([next(iter(scenes(1, 0, SIZE))).image])[0].label_map


def test_it_learns_and_starts_anew_each_time(bundle: Bundle, fitter: HeadFitter, images: Sequence[Kept]) -> None:
    first = fitter.fit(images, steps=30, seconds=600, pause=wait)
    assert first is not None
    fitted = fitter.predictor(first, "v1+live-1")
    assert (fitted.version, fitted.labels) == ("v1+live-1", LABELS)
    before, learned = masks(fitted), right(fitted)
    assert learned > right(Predictor(bundle)) + 0.1
    # other images, another fit; then the same one again
    assert fitter.fit(images[2:], steps=5, seconds=600, pause=wait) is not None
    again = fitter.fit(images, steps=30, seconds=600, pause=wait)
    assert again is not None
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_array_equal(masks(fitted), before)


def test_nothing_learned_is_the_version_itself(bundle: Bundle, images: Sequence[Kept]) -> None:
    """With the version's labels, and shrunk images too, which take another way through the runtime."""
    small = dataclasses.replace(bundle.record, max_side=64)
    for one in (bundle, Bundle(bundle.model, small)):
        fitter = HeadFitter(one, FEWER, TrainingSettings("small"))
        np.testing.assert_array_equal(
            masks(fitter.predictor(fitter._first, "v")), masks(Predictor(one, precision="float32"))
        )


def test_it_ends_when_its_time_is_over_and_pauses_before_every_step(fitter: HeadFitter, images: Sequence[Kept]) -> None:
    spent: list[float] = []
    assert fitter.fit(images, steps=50, seconds=0.0, pause=spent.append) is not None
    assert len(spent) == 2
    assert spent[0] == 0 < spent[1]


def test_a_loss_that_is_no_number_gives_nothing(fitter: HeadFitter, images: Sequence[Kept]) -> None:
    broken = [dataclasses.replace(one, features=[np.full_like(m, np.nan) for m in one.features]) for one in images]
    assert fitter.fit(broken, steps=3, seconds=600, pause=wait) is None
    assert fitter.fit(images, steps=3, seconds=600, pause=wait) is not None


def test_the_authors_networks_are_refused(bundle: Bundle) -> None:
    architecture = Architecture(1, backbone="vgg16", padding="caffe")
    record = dataclasses.replace(bundle.record, architecture=architecture, labels=LabelSet((Label(0, "road"),)))
    with pytest.raises(DataError, match="not fitted in parts"):
        HeadFitter(Bundle(None, record), record.labels, TrainingSettings("vgg16"))
