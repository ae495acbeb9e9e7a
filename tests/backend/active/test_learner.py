"""What a simulation trains: on features of every stride, and measured as the network itself would be."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from maskloop_backend.active.learner import Learner
from maskloop_backend.active.uncertainty import UncertaintyError
from maskloop_backend.demo.labels import LABELS
from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.inference.predictor import Predictor
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.training.dataset import Examples, read_source
from maskloop_backend.training.free_head import free_head
from maskloop_backend.training.metrics import VOID, ConfusionMatrix
from maskloop_converters.samples import Sample

# no side is a multiple of 32, so that padding matters
SIZES = ((90, 120), (66, 70))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    keras.utils.set_random_seed(0)
    architecture = Architecture(len(LABELS.classes), backbone="small", stride=8)
    return Bundle.create(build_fcn(architecture), architecture, LABELS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[list[Sample]]:
    found = []
    for number, size in enumerate(SIZES):
        directory = tmp_path_factory.mktemp(f"street{number}")
        write_scenes(directory / "street", 4, seed=number, size=size)
        found.append(list(read_source(directory / "street")[0]))
    return found


def examples(samples: Sequence[Sample]) -> Examples:
    return Examples(samples, LABELS)


def test_it_learns_what_the_network_would_predict(bundle: Bundle, samples: list[list[Sample]]) -> None:
    """The figure of a training is that of the whole network with these weights, asked for the images themselves."""
    train, measured = examples(samples[0][:2]), examples(samples[0][2:])
    learner = Learner(bundle, train, measured, steps=20, batch_size=2)
    weights = learner.trained([0, 1], 0)
    head = free_head(bundle, LABELS, fresh=True)
    for variable, value in zip(head.learning, weights, strict=True):
        variable.assign(value)
    predictor = Predictor(Bundle(head.model, bundle.record))
    matrix = ConfusionMatrix(len(LABELS.classes))
    for image, target in measured:
        matrix.add(target, predictor.predict([image])[0].label_map)
    assert learner.miou(weights) == pytest.approx(matrix.miou(), abs=0.005)
    assert learner.miou(weights) > learner.miou(learner._first)


def test_scores_of_every_stride_learn_and_blocks_do_not(bundle: Bundle) -> None:
    head = free_head(bundle, LABELS, fresh=True)
    names = {variable.path.split("/")[0] for variable in head.learning}
    assert {"score", "score_16", "score_8"} < names
    assert not {name for name in names if name.startswith("block")}
    for name in ("score", "score_16", "score_8"):
        assert not any(ops.any(w) for w in head.model.get_layer(name).weights)
    kept = bundle.model.get_layer("fc7").get_weights()
    for own, theirs in zip(head.model.get_layer("fc7").get_weights(), kept, strict=True):
        np.testing.assert_array_equal(own, theirs)


def test_a_training_depends_on_its_images_and_seed_alone(bundle: Bundle, samples: list[list[Sample]]) -> None:
    learner = Learner(bundle, examples(samples[0]), examples(samples[1]), steps=4, batch_size=2)
    first = learner.trained([0, 2], 5)
    learner.trained([1], 6)
    again = learner.trained([2, 0], 5)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(first, learner.trained([0, 2], 6), strict=True))


def test_padding_is_not_counted(bundle: Bundle, samples: list[list[Sample]]) -> None:
    """Images of two sizes lie in the middle of a canvas of 96 x 128 each; every fourth row and column is looked at."""
    both = examples([*samples[0][:1], *samples[1][:1]])
    learner = Learner(bundle, both, both, steps=1, batch_size=1)
    _, wrong = learner.probe(learner._first, [0, 1], ())

    def looked_at(target: NDArray[np.uint8]) -> NDArray[np.uint8]:
        canvas = np.full((96, 128), VOID, np.uint8)
        top, left = (96 - target.shape[0]) // 2, (128 - target.shape[1]) // 2
        canvas[top : top + target.shape[0], left : left + target.shape[1]] = target
        return canvas[2::4, 2::4]

    for index in (0, 1):
        seen = looked_at(both[index][1])
        # scores of 0: the first class everywhere
        assert wrong[index] == (int((seen[seen != VOID] != 0).sum()), int((seen != VOID).sum()))
    assert wrong[0][1] > wrong[1][1] > 0


def test_what_is_kept_of_an_image_is_small() -> None:
    """EfficientNet-Lite0's maps at all strides of an image of 360 x 480: half a megabyte in half precision."""
    architecture = Architecture(11, backbone="efficientnet-lite0", stride=8)
    labels = type(LABELS).from_names([f"class {k}" for k in range(11)])
    bundle = Bundle.create(build_fcn(architecture, blank=True), architecture, labels)
    shapes = free_head(bundle, labels).shapes(384, 480)
    assert [side for shape in shapes for side in shape[:2]] == [12, 15, 24, 30, 48, 60]
    assert 2 * sum(int(np.prod(shape)) for shape in shapes) <= 0.51e6


def test_bald_needs_dropout(samples: list[list[Sample]]) -> None:
    architecture = Architecture(len(LABELS.classes), backbone="small", head=False)
    bundle = Bundle.create(build_fcn(architecture, blank=True), architecture, LABELS)
    one = examples(samples[0][:1])
    with pytest.raises(UncertaintyError, match=r"no dropout.*maskloop train --head"):
        Learner(bundle, one, one, steps=1, batch_size=1, random=True)
