"""Writes small caffemodels and the prototxt that says how their layers hang together, as the authors' networks do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, Sequence[NDArray[Any]]]


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: NDArray[Any]) -> bytes:
    return field(7, field(1, b"".join(map(varint, array.shape)))) + field(5, array.astype("<f4").tobytes())


def old_blob(array: NDArray[Any]) -> bytes:
    """As Caffe wrote it before 2015: four sizes."""
    shape = (1,) * (4 - array.ndim) + array.shape
    sizes = b"".join(field(number, side) for number, side in enumerate(shape, 1))
    return sizes + field(5, array.astype("<f4").tobytes())


def caffemodel(arrays: Arrays, *, old: bool = False, kinds: Mapping[str, str] | None = None) -> bytes:
    layers = []
    for name, blobs in arrays.items():
        if old:
            layers.append(field(2, field(4, name.encode()) + b"".join(field(6, old_blob(array)) for array in blobs)))
        else:
            kind = field(2, (kinds or {}).get(name, "Convolution").encode())
            layers.append(
                field(100, field(1, name.encode()) + kind + b"".join(field(7, blob(array)) for array in blobs))
            )
    return field(1, b"net") + b"".join(layers)


class Network:
    """An FCN in VGG's form with few channels: prototxt, and random arrays.

    Args:
        stride: 32, 16 or 8.
        classes: K.
        blocks: (convolutions, filters) of the five blocks.
        head: channels of fc6 and fc7.
        scales: of the at-once networks.
        dense: upsampling that mixes classes.
        ending: '_sem' of SIFT Flow's.
    """

    def __init__(
        self,
        stride: int,
        classes: int,
        blocks: Sequence[tuple[int, int]],
        head: int,
        *,
        scales: bool = False,
        dense: bool = False,
        ending: str = "",
    ) -> None:
        self.lines: list[str] = []
        self.arrays: dict[str, list[NDArray[Any]]] = {}
        self.kinds: dict[str, str] = {}
        self._random = np.random.default_rng(stride)
        self._classes, self._dense = classes, dense
        channels, bottom, pools = 3, "data", {}
        for block, (depth, filters) in enumerate(blocks, 1):
            for index in range(1, depth + 1):
                pad = 100 if bottom == "data" else 1
                bottom = self._convolution(f"conv{block}_{index}", bottom, channels, filters, 3, pad, relu=True)
                channels = filters
            bottom = self._layer(
                "Pooling", f"pool{block}", [bottom], "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
            )
            pools[block] = bottom, filters
        bottom = self._convolution("fc6", bottom, channels, head, 7, 0, relu=True)
        bottom = self._convolution("fc7", bottom, head, head, 1, 0, relu=True)
        bottom = self._convolution(f"score_fr{ending}", bottom, head, classes, 1, 0)
        for step, block, crop in ((16, 4, 5), (8, 3, 9)):
            if stride > step:
                break
            doubled = self._deconvolution(("upscore2" if step == 16 else "upscore_pool4") + ending, bottom, 2)
            pool, filters = pools[block]
            if scales:
                factor = np.full(filters, 0.01 if block == 4 else 0.0001, np.float32)
                self.arrays[f"scale_pool{block}"], self.kinds[f"scale_pool{block}"] = [factor], "Scale"
                pool = self._layer("Scale", f"scale_pool{block}", [pool], "scale_param { bias_term: false }")
            score = self._convolution(f"score_pool{block}{ending}", pool, filters, classes, 1, 0)
            score = self._layer("Crop", f"{score}c", [score, doubled], f"crop_param {{ axis: 2 offset: {crop} }}")
            bottom = self._layer("Eltwise", f"fuse_pool{block}", [doubled, score], "eltwise_param { operation: SUM }")
        name, offset = {32: ("upscore", 19), 16: ("upscore16", 27), 8: ("upscore8", 31)}[stride]
        bottom = self._deconvolution(name + ending, bottom, stride)
        self._layer("Crop", "score", [bottom, "data"], f"crop_param {{ axis: 2 offset: {offset} }}")

    def prototxt(self, height: int, width: int) -> bytes:
        sizes = f"dim: 1 dim: 3 dim: {height} dim: {width}"
        data = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {sizes} }} }} }}'
        return "\n".join(['name: "net"', data, *self.lines]).encode()

    def caffemodel(self, *, old: bool = False) -> bytes:
        return caffemodel(self.arrays, old=old, kinds=self.kinds)

    def _layer(self, kind: str, name: str, bottoms: list[str], more: str = "", top: str = "") -> str:
        ends = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {ends} top: "{top or name}" {more} }}')
        return top or name

    def _convolution(
        self, name: str, bottom: str, channels: int, filters: int, kernel: int, pad: int, *, relu: bool = False
    ) -> str:
        # grey levels come in, values of about 1 go on
        spread = (1 / 64 if bottom == "data" else 1) / np.sqrt(channels * kernel * kernel)
        weights = self._random.normal(0, 1.4 * spread, (filters, channels, kernel, kernel))
        self.arrays[name] = [weights.astype(np.float32), self._random.normal(0, 0.1, filters).astype(np.float32)]
        sizes = f"convolution_param {{ num_output: {filters} kernel_size: {kernel} pad: {pad} }}"
        top = self._layer("Convolution", name, [bottom], sizes)
        return self._layer("ReLU", f"relu_{name}", [top], top=top) if relu else top

    def _deconvolution(self, name: str, bottom: str, stride: int) -> str:
        k, side = self._classes, 2 * stride
        weights = self._random.uniform(0, 1, (k, k, side, side))
        if not self._dense:
            weights *= np.eye(k)[:, :, None, None]
        self.arrays[name], self.kinds[name] = [weights.astype(np.float32)], "Deconvolution"
        sizes = f"num_output: {k} kernel_size: {side} stride: {stride} bias_term: false"
        return self._layer("Deconvolution", name, [bottom], f"convolution_param {{ {sizes} }}")
