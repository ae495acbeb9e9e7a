"""Run lists against plain NumPy on pixels."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskloop_converters import _runs
from maskloop_converters.errors import DataError
from maskloop_converters.masks import Order, RunList

ORDERS = get_args(Order)
orders = st.sampled_from(ORDERS)
stacks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
label_maps = hnp.arrays(
    st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", ">i4", "?"]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.integers(0, 1),
)


def runs(masks: NDArray[Any], order: Order = "C") -> RunList:
    return RunList.from_masks(masks, height=masks.shape[1], width=masks.shape[2], order=order).validate()


@given(label_maps, st.integers(-3, 100), orders)
def test_a_label_map_and_its_masks_are_one(bits: NDArray[Any], scale: int, order: Order) -> None:
    label_map = bits if bits.dtype == bool else (bits * np.array(scale).astype(bits.dtype)).astype(bits.dtype)
    ids, masks = RunList.from_label_map(label_map, order=order)
    assert ids.dtype == bits.dtype
    assert ids.tolist() == np.unique(label_map).tolist()
    assert masks.validate() == runs(np.stack([label_map == k for k in ids]), order)
    painted = masks.to_label_map(ids.astype(np.int64), fill=-1, dtype=np.int64) if bits.dtype != "u8" else None
    assert painted is None or (painted == label_map.astype(np.int64)).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70000), (70000, 1), (1024, 1032), (1031, 1029)])
@pytest.mark.parametrize("kinds", [2, 300])
def test_large_label_maps(height: int, width: int, kinds: int, order: Order) -> None:
    rng = np.random.default_rng(height + width)
    coarse = rng.integers(0, kinds, (height // 7 + 1, width // 9 + 1))
    label_map = coarse.repeat(7, 0).repeat(9, 1)[:height, :width].astype(np.uint8 if kinds < 256 else np.int32)
    ids, masks = RunList.from_label_map(label_map, order=order)
    assert ids.tolist() == np.unique(label_map).tolist()
    assert masks.validate().areas().tolist() == [int((label_map == k).sum()) for k in ids]
    assert (masks.to_label_map(ids, fill=0, dtype=np.uint32) == label_map).all()
    other: Order = "F" if order == "C" else "C"
    assert masks.reordered(other) == RunList.from_label_map(label_map, order=other)[1]


@settings(max_examples=200)
@given(stacks, orders)
def test_masks_against_pixels(masks: NDArray[Any], order: Order) -> None:
    k, h, w = masks.shape
    r = runs(masks, order)
    assert (r.to_masks() == masks).all()
    assert r.areas().tolist() == masks.sum((1, 2)).tolist()
    assert r.overlap_pixels() == int((masks.sum(0) > 1).sum())
    assert r.covered_pixels() == int(masks.any(0).sum())
    for mask, box in zip(masks, r.boxes().tolist(), strict=True):
        ys, xs = mask.nonzero()
        assert box == ([xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1] if xs.size else [0, 0, 0, 0])
    painted = np.full((h, w), 99, np.uint8)
    for i in range(k):
        painted[masks[i]] = i
    assert (r.to_label_map(range(k), fill=99) == painted).all()
    for other in ORDERS:
        assert (r.reordered(other).validate().to_masks() == masks).all()
    groups = np.arange(k) % 2
    union = r.union(groups, 3).validate()
    assert [union.mask(g).tolist() for g in range(3)] == [masks[groups == g].any(0).tolist() for g in range(3)]


@given(stacks, orders, st.data())
def test_choosing_and_joining(masks: NDArray[Any], order: Order, data: st.DataObject) -> None:
    r = runs(masks, order)
    chosen = data.draw(st.lists(st.integers(0, len(r) - 1), max_size=6))
    assert r.select(chosen).validate().to_masks().tolist() == masks[chosen].tolist()
    assert r.select(np.arange(len(r)) > 0) == r.select(range(1, len(r)))
    assert RunList.concatenate([r.select(chosen), r]).to_masks().tolist() == masks[[*chosen, *range(len(r))]].tolist()
    assert RunList.concatenate([r]) == r


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2)), max_size=12), orders)
def test_intervals_may_overlap_and_come_unsorted(ranges: list[tuple[int, int, int]], order: Order) -> None:
    starts, ends, rows = np.array(ranges, np.int64).reshape(-1, 3).T
    expected = np.zeros((3, 12), bool)
    for start, end, row in ranges:
        expected[row, start:end] = True
    r = RunList.from_intervals(starts, ends, rows, count=3, height=3, width=4, order=order).validate()
    assert r == runs(expected.reshape(3, 3, 4) if order == "C" else expected.reshape(3, 4, 3).transpose(0, 2, 1), order)
    assert RunList.from_intervals(*r.intervals(), count=3, height=3, width=4, order=order) == r


@pytest.mark.parametrize("order", ORDERS)
def test_changing_order_in_parts_gives_the_same(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.random.default_rng(1).random((5, 30, 40)) > np.array([0, 0.1, 0.5, 0.9, 1]).reshape(5, 1, 1)
    other: Order = "F" if order == "C" else "C"
    whole = runs(masks, order).reordered(other)
    monkeypatch.setattr(_runs, "_EXPANSION_LIMIT", 10)
    assert runs(masks, order).reordered(other) == whole


@pytest.mark.parametrize("order", ["C", "F"])
def test_painting_too_many_overlaps_one_by_one_gives_the_same(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.random.default_rng(3).random((5, 7, 9)) < 0.6
    runs = RunList.from_masks(masks, height=7, width=9, order=order)
    painted = runs.to_label_map(range(5), fill=99)
    monkeypatch.setattr(_runs, "_EXPANSION_LIMIT", 0)
    assert runs.to_label_map(range(5), fill=99).tolist() == painted.tolist()


def test_no_masks() -> None:
    r = RunList.empty(2, 3)
    assert len(r) == len(r.reordered("F")) == len(r.select([])) == r.areas().size == 0
    assert r.overlap_pixels() == r.covered_pixels() == 0
    assert r.boxes().shape == (0, 4)
    assert r.to_masks().shape == (0, 2, 3)
    assert r.to_label_map([], fill=5).tolist() == [[5] * 3] * 2
    assert RunList.from_masks([], height=2, width=3) == r == RunList.from_rows([], height=2, width=3)
    assert RunList.concatenate([r, r]) == r


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[6], [2, 3]], "runs of mask 1 cover 5 pixels, expected 2 x 3 = 6"),
        ([[6], []], "runs of mask 1 cover 0 pixels"),
        ([[6], [4, -1, 3]], "mask 1 has a run of -1 pixels"),
        ([[2, 0, 4]], "mask 0 has a run of 0 pixels that is not its first one"),
        ([[6, 0]], "mask 0 has a run of 0 pixels"),
        ([[1 << 62, 1 << 62, 6]], "mask 0 has a run of 4611686018427387904 pixels"),
    ],
)
def test_rows_are_checked(rows: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RunList.from_rows([np.array(row, np.int64) for row in rows], height=2, width=3)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda r: RunList.from_label_map(np.zeros((2, 2))), "integers or bool, not float64"),
        (lambda r: RunList.from_label_map(np.zeros((0, 2), int)), r"not shape \(0, 2\)"),
        (lambda r: RunList.from_label_map(np.zeros(3, int)), r"not shape \(3,\)"),
        (lambda r: RunList.from_masks([np.zeros((3, 2))], height=2, width=3), r"mask 0 has shape \(3, 2\)"),
        (lambda r: r.to_label_map([256, 1], fill=0), "uint8 label maps cannot hold 256"),
        (lambda r: r.to_label_map([1, 1], fill=-1), "cannot hold -1"),
        (lambda r: r.to_label_map([1], fill=0), "1 values for 2 masks"),
        (lambda r: r.union([1], 2), "1 groups for 2 masks"),
        (lambda r: r.union([0, 2], 2), "belongs to mask 2, but there are 2"),
        (lambda r: RunList.from_intervals(*np.array([[0], [7], [0]]), count=1, height=2, width=3), "outside 0..6"),
        (lambda r: RunList.concatenate([r, r.reordered("F")]), "different sizes or orders"),
        (lambda r: RunList.concatenate([]), "nothing"),
        (lambda r: RunList(2, 3, r.counts, r.offsets[:-1]).validate(), "offsets must ascend"),
    ],
)
def test_misuse_is_named(act: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        act(runs(np.ones((2, 2, 3), bool)))


def test_equality_is_of_pixels_and_order() -> None:
    r = runs(np.eye(3, dtype=bool)[None])
    assert r != r.reordered("F")
    assert r.reordered("F").reordered("C") == r
    assert r != "something else"
