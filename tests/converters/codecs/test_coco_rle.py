"""COCO's run lengths against pycocotools, bytes and pixels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as pycoco

from maskloop_converters.codecs import coco_rle
from maskloop_converters.errors import CodecError
from maskloop_converters.masks import RunList

label_maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3))
stacks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=20))


def oracle(mask: NDArray[Any]) -> bytes:
    counts: bytes = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts


@given(label_maps)
def test_every_id_of_a_label_map_in_one_pass(label_map: NDArray[np.uint8]) -> None:
    ids, counts = coco_rle.encode_label_map(label_map)
    assert ids.tolist() == np.unique(label_map).tolist()
    assert counts == [oracle(label_map == k) for k in ids]
    masks = coco_rle.decode(counts, *label_map.shape).validate()
    assert masks == RunList.from_label_map(label_map, order="F")[1]


@settings(max_examples=200)
@given(stacks)
def test_masks_both_ways(stack: NDArray[np.bool_]) -> None:
    _, h, w = stack.shape
    masks = RunList.from_masks(stack, height=h, width=w)
    counts = coco_rle.encode(masks)
    assert counts == [oracle(m) for m in stack] == [coco_rle.encode_mask(m) for m in stack]
    assert coco_rle.decode(counts, h, w) == coco_rle.decode([c.decode() for c in counts], h, w) == masks.reordered("F")
    uncompressed = coco_rle.to_uncompressed(masks)
    sized = [pycoco.frPyObjects({"size": [h, w], "counts": row}, h, w)["counts"] for row in uncompressed]
    assert sized == counts
    mixed = [counts[k] if k % 2 else uncompressed[k] for k in range(len(stack))]
    assert coco_rle.decode(mixed, h, w).to_masks().tolist() == stack.tolist()
    assert coco_rle.decode([np.array(row) for row in uncompressed], h, w) == masks.reordered("F")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300_000), (300_000, 1), (1100, 1300)])
@pytest.mark.parametrize("density", [0.0, 0.0001, 0.02, 0.5, 1.0])
def test_large_masks(height: int, width: int, density: float) -> None:
    """Long runs take up to four characters; small and busy masks go to pycocotools, the others do not."""
    mask = np.random.default_rng(7).random((height, width)) < density
    expected = oracle(mask)
    assert coco_rle.encode_mask(mask) == expected
    masks = RunList.from_masks([mask, ~mask], height=height, width=width)
    assert coco_rle.encode(masks) == [expected, oracle(~mask)]
    assert coco_rle.decode([expected], height, width) == masks.select([0]).reordered("F")


@pytest.mark.parametrize("edge", [1 << 4, 1 << 9, 1 << 13, 1 << 14, 1 << 19])
def test_differences_about_the_bounds_of_their_characters(edge: int) -> None:
    """Runs that grow and shrink by about 2**4, 2**9 ... pixels: a character more each, and in a table below 2**13."""
    steps = [edge - 1, edge, edge + 1]
    lengths = [a for step in steps for a in (3, 5, 3 + step, 5 + step)] + [3, 5]
    flat = np.repeat(np.arange(len(lengths)) % 2, lengths)
    for mask in (flat[:, None], flat[None, :], 1 - flat[:, None]):
        ids, counts = coco_rle.encode_label_map(mask)
        assert counts == [oracle(mask == k) for k in ids]
        assert coco_rle.encode(coco_rle.decode(counts, *mask.shape)) == counts


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, ">u2", np.int32, np.uint64])
def test_label_maps_of_any_integer_type(dtype: Any) -> None:
    label_map = (np.arange(35).reshape(5, 7) // 3 % 2 * (1 if dtype is bool else 100)).astype(dtype)
    if np.dtype(dtype).kind == "i":
        label_map[2:4, 1:3] = -3
    for given_map in (label_map, np.asfortranarray(label_map), label_map[::-1]):
        ids, counts = coco_rle.encode_label_map(given_map)
        assert ids.dtype == given_map.dtype
        assert ids.tolist() == np.unique(given_map).tolist()
        assert counts == [oracle(given_map == k) for k in ids]


def test_one_mask_of_any_layout() -> None:
    mask = np.arange(12).reshape(3, 4) % 5
    for same in (mask, np.asfortranarray(mask), mask[::-1][::-1], mask.astype(float), mask > 0):
        assert coco_rle.encode_mask(same) == oracle(mask > 0)
    assert coco_rle.encode_mask(np.ones((1, 1))) == b"01"


@pytest.mark.parametrize(
    ("counts", "canonical"),
    [
        ([0, 3, 0, 3], [0, 6]),
        ([2, 0, 4], [6]),
        ([6, 0], [6]),
        ([1, 2, 0, 0, 3], [1, 2, 3]),
        ([0, 0, 0, 6], [0, 6]),
        ([0, 2, 1, 0, 1, 2, 0], [0, 2, 2, 2]),
    ],
)
def test_runs_of_nothing_are_merged(counts: list[int], canonical: list[int]) -> None:
    masks = coco_rle.decode([counts, [6]], 2, 3).validate()
    assert masks.row(0).tolist() == canonical
    decoded = pycoco.decode(pycoco.frPyObjects({"size": [2, 3], "counts": counts}, 2, 3))
    assert masks.mask(0).tolist() == decoded.astype(bool).tolist()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"", "runs cover 0 pixels, expected 5 x 7 = 35"),
        ([], "runs cover 0 pixels"),
        (b"T1", "a run changes by 36 pixels, the mask has 35"),
        (b"S2", "a run changes by 67 pixels, the mask has 35"),
        (b"R1", "runs cover 34 pixels"),
        (b"S1S1", r"runs cover 70 pixels"),
        (b"S", "truncated: the last one is not complete"),
        (b"5_", "truncated"),
        (b"5\x1f", r"'\\x1f' is no character of COCO counts"),
        (b"5~", r"'~' is no character"),
        ("5\xe9", "'\xe9' is no character"),
        (b"5oooooooooooo0", "a count of 13 characters"),
        (b"5oooooooooo0", "a run changes by 1125899906842623 pixels"),
        (b"M", "a run of -3 pixels"),
        (b"15O5", "a run of -1 pixels"),
        ([36, -1], "a run of 36 pixels, expected 0..35"),
        ([1 << 62, 1 << 62], "a run of 4611686018427387904 pixels"),
        ([1 << 70], "uncompressed counts are a list of integers"),
        ([1.5, 33.5], "uncompressed counts are a list of integers: it is float64"),
        ([[35]], r"of shape \(1, 1\)"),
        (["35"], "a list of integers"),
        (None, "a list of integers"),
        (35, "a list of integers"),
        ({"counts": "1"}, "a list of integers"),
    ],
)
def test_bad_counts_are_named(counts: Any, message: str) -> None:
    good = oracle(np.eye(5, 7))
    with pytest.raises(CodecError, match=f"mask 2: .*{message}"):
        coco_rle.decode([good, [35], counts, good], 5, 7)


def test_a_huge_claim_allocates_nothing() -> None:
    """Memory follows the text, so a mask of 10**10 pixels in five characters is only that: one run."""
    text = coco_rle.encode(RunList(100_000, 100_000, np.array([10**10]), np.array([0, 1]), "F"))
    assert coco_rle.decode(text, 100_000, 100_000).row(0).tolist() == [10**10]
    with pytest.raises(CodecError, match="mask 0"):
        coco_rle.decode(text, 100, 100)


@pytest.mark.parametrize("mask", [np.zeros((0, 3)), np.zeros(3), np.zeros((1, 2, 3))])
def test_a_mask_is_two_dimensional(mask: NDArray[Any]) -> None:
    with pytest.raises(CodecError, match="not of shape"):
        coco_rle.encode_mask(mask)


def test_no_masks() -> None:
    assert coco_rle.decode([], 3, 4) == RunList.empty(3, 4, "F")
    assert coco_rle.encode(RunList.empty(3, 4)) == coco_rle.to_uncompressed(RunList.empty(3, 4)) == []
    with pytest.raises(CodecError, match="not 0 x 4"):
        coco_rle.decode([], 0, 4)
