"""Label Studio's brush RLE against its frontend's codec (recorded, and under node), the SDK and the Rust wheel."""

import base64
import json
import os
import re
import shutil
import subprocess
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.codecs import studio_rle
from maskloop_converters.errors import CodecError
from maskloop_converters.masks import RunList

FIXTURES = Path(__file__).parents[2] / "fixtures" / "codecs"
RECORDED = json.loads((FIXTURES / "rle_pack.json").read_text())["cases"]
EDITOR = json.loads((FIXTURES / "editor_streams.json").read_text())["regions"]

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)
alphas = hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 127, 128, 254, 255]))
label_maps = hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3))


def alpha_of(case: dict[str, Any]) -> NDArray[np.uint8]:
    flat = zlib.decompress(base64.b64decode(case["alpha"]))
    return np.frombuffer(flat, np.uint8).reshape(case["height"], case["width"])


def pack(
    num: int, records: list[tuple[int, list[int]]], *, word: int = 8, sizes: tuple[int, ...] = (3, 4, 8, 16)
) -> bytes:
    """Write a stream bit by bit: a record is (run length, [value]) or (0, literal values)."""
    bits = f"{num:032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for run, values in records:
        count = (run or len(values)) - 1
        k = next(i for i, size in enumerate(sizes) if count < 1 << size)
        bits += f"{int(run > 0)}{k:02b}{count:0{sizes[k]}b}" + "".join(f"{v:0{word}b}" for v in values)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("case", RECORDED, ids=[c["name"] for c in RECORDED])
def test_writes_what_the_frontend_writes(case: dict[str, Any]) -> None:
    alpha, stream = alpha_of(case), bytes.fromhex(case["stream"])
    assert studio_rle.encode_alpha(alpha) == stream
    assert (studio_rle.decode_alpha(stream, *alpha.shape) == alpha).all()
    masks = studio_rle.decode([stream], *alpha.shape)
    assert (masks.validate().mask(0) == (alpha > 127)).all()
    if set(np.unique(alpha).tolist()) <= {0, 255}:
        assert studio_rle.encode(masks) == [stream]


@pytest.mark.parametrize("region", EDITOR, ids=[r["png"] for r in EDITOR])
def test_reads_what_the_editor_submitted_as_label_studio_exports_it(region: dict[str, Any]) -> None:
    stream, size = bytes.fromhex(region["rle"]), (region["height"], region["width"])
    expected = np.asarray(Image.open(FIXTURES / region["png"]))
    assert (studio_rle.decode_alpha(list(stream), *size) == expected).all()
    assert (studio_rle.decode([list(stream)], *size).mask(0) == (expected > 127)).all()
    assert studio_rle.encode_alpha(expected) == stream


@pytest.mark.skipif(
    not (os.environ.get("MASKLOOP_RLE_PACK") and shutil.which("node")),
    reason="needs node, and MASKLOOP_RLE_PACK: the folder where `npm install @thi.ng/rle-pack` was run",
)
def test_the_frontends_codec_under_node_writes_and_reads_the_same() -> None:
    rng = np.random.default_rng(5)
    masks = [(rng.random((7, 50)) > p).astype(np.uint8) * 255 for p in np.linspace(0, 1, 40)]
    masks += [rng.integers(0, 256, (11, 13)).astype(np.uint8), np.full((300, 700), 255, np.uint8)]
    streams = [studio_rle.encode_alpha(m) for m in masks]
    jobs = [{"alpha": m.tobytes().hex()} for m in masks] + [{"stream": s.hex()} for s in streams]
    command = ["node", str(Path(__file__).with_name("rle_pack.mjs")), os.environ["MASKLOOP_RLE_PACK"]]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=True, timeout=300)
    answers = [bytes.fromhex(x) for x in json.loads(done.stdout)]
    assert answers == streams + [m.tobytes() for m in masks]


@given(label_maps)
def test_every_id_of_a_label_map_in_one_pass(label_map: NDArray[np.uint8]) -> None:
    ids, streams = studio_rle.encode_label_map(label_map)
    assert ids.tolist() == np.unique(label_map).tolist()
    assert streams == [studio_rle.encode_alpha(np.uint8(255) * (label_map == k)) for k in ids]
    masks = studio_rle.decode(streams, *label_map.shape)
    assert masks.validate() == RunList.from_label_map(label_map)[1]
    assert streams == studio_rle.encode(masks.reordered("F"))


@pytest.mark.parametrize("longest", [16383, 16384, 16385, 32768, 32769, 50_000])
def test_runs_longer_than_a_record_of_zeros_and_of_ones(longest: int) -> None:
    """A record holds 16384 pixels; what is longer is several, in one mask or in several, first, last or between."""
    ids = [0, 1, 0, 2, 1, 0, 2, 2]
    label_map = np.repeat(ids, [longest, longest + 7, 3, longest, 1, 2 * longest, 5, longest])[None, :]
    found, streams = studio_rle.encode_label_map(label_map)
    alpha = [np.uint8(255) * (label_map == k) for k in found]
    assert streams == [studio_rle.encode_alpha(a) for a in alpha]
    for stream, expected in zip(streams, alpha, strict=True):
        assert (brush.decode_rle(list(stream))[3::4] == expected.ravel()).all()
    masks = studio_rle.decode(streams, *label_map.shape)
    assert (masks.to_label_map(found, fill=9) == label_map).all()
    assert studio_rle.encode(masks) == streams


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40))
def test_streams_of_even_and_odd_numbers_of_records_together(lengths: list[int]) -> None:
    masks = [np.repeat(np.arange(n) % 2, lengths[:n]) for n in range(1, len(lengths) + 1)]
    width = sum(lengths)
    rows = [np.pad(mask, (0, width - mask.size), mode="edge")[None, :] > 0 for mask in masks]
    streams = [studio_rle.encode_alpha(np.uint8(255) * row) for row in rows]
    assert studio_rle.decode(streams, 1, width).validate() == RunList.from_masks(rows, height=1, width=width)


@settings(max_examples=50)
@given(alphas)
def test_pixels_agree_with_the_sdk(alpha: NDArray[np.uint8]) -> None:
    stream = studio_rle.encode_alpha(alpha)
    assert (brush.decode_rle(list(stream)).reshape(*alpha.shape, 4) == alpha[..., None]).all()
    for rgb in (alpha, np.zeros_like(alpha), np.full_like(alpha, 255)):  # literals, where channels differ
        rgba = np.stack((rgb, rgb, rgb, alpha), axis=-1)
        written = brush.encode_rle(rgba.ravel())
        assert (studio_rle.decode_alpha(written, *alpha.shape) == alpha).all()
        plain = studio_rle.encode_alpha(alpha)
        masks = studio_rle.decode([plain, written, plain], *alpha.shape)
        assert [(masks.mask(k) == (alpha > 127)).all() for k in range(3)] == [True] * 3


@settings(max_examples=50)
@given(alphas)
def test_pixels_agree_with_the_rust_wheel(alpha: NDArray[np.uint8]) -> None:
    rust = pytest.importorskip("label_studio_brush_rle_rs", reason="pip install label-studio-brush-rle-rs")
    rgba = np.repeat(alpha.ravel(), 4)
    assert np.array_equal(rust.decode_rle(list(studio_rle.encode_alpha(alpha)), False), rgba)
    assert (studio_rle.decode_alpha(rust.encode_rle(rgba, 8, [3, 4, 8, 16]), *alpha.shape) == alpha).all()


@given(st.integers(0, 255), st.integers(0, 254))
def test_the_threshold_is_exclusive(value: int, threshold: int) -> None:
    stream = studio_rle.encode_alpha(np.full((2, 2), value, np.uint8))
    assert studio_rle.decode([stream], 2, 2, threshold=threshold).areas().tolist() == [4 * (value > threshold)]


@pytest.mark.parametrize(
    ("word", "sizes"), [(8, (3, 4, 8, 16)), (16, (3, 4, 8, 16)), (8, (1, 2, 3, 4)), (32, (16,) * 4), (5, (2, 3, 9, 12))]
)
def test_any_element_and_length_size(word: int, sizes: tuple[int, ...]) -> None:
    top = min((1 << word) - 1, 1 << 31)
    elements = [0, 0, 0, 0, 9, 9, 9, top, 1, 2, 3, 4, 5, 6, 7, 8]
    records = [(2, [0]), (2, [0]), (0, [9, 9]), (0, [9]), (1, [top]), (0, elements[8:10]), (0, [3, 4])]
    records += [(0, [5, 6]), (0, [7, 8])]
    stream = pack(16, records, word=word, sizes=sizes)
    expected = np.minimum(np.array(elements[3::4]), 255).reshape(2, 2)
    for padding in (b"", b"\0"):
        assert (studio_rle.decode_alpha(stream + padding, 2, 2) == expected).all()
        masks = studio_rle.decode([stream + padding] * 2, 2, 2, threshold=4)
        assert (masks.mask(1) == (expected > 4)).all()


def test_runs_that_do_not_end_at_pixels() -> None:
    """Alpha of pixel p is element 4p + 3, wherever records begin and end."""
    stream = pack(16, [(3, [255]), (2, [0]), (2, [0]), (1, [200]), (7, [0]), (1, [130])])
    assert studio_rle.decode_alpha(stream, 2, 2).tolist() == [[0, 200], [0, 130]]
    assert studio_rle.decode([stream, stream], 2, 2).to_masks().tolist() == [[[False, True], [False, True]]] * 2


GOOD = studio_rle.encode_alpha(np.arange(35, dtype=np.uint8).reshape(5, 7))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "truncated: 0 bytes"),
        (GOOD[:6], "truncated: 6 bytes"),
        (GOOD[:7], "truncated"),
        (GOOD[:-1], "truncated: .* end before 140 elements"),
        (GOOD[:-4] + bytes(3), "truncated"),
        (GOOD + b"\0\0", "bits follow after its last run"),
        (GOOD + b"\1", "bits follow"),
        (pack(140, [(141, [1])]), "hold 141 elements or more, the header says 140"),
        (pack(140, [(139, [1]), (0, [1, 2])]), "hold 141 elements or more"),
        (pack(140, [(140, [1]), (140, [1])]), "hold 280 elements or more"),
        (pack(140, [(0, [7] * 140)])[:-9], "truncated"),
        (studio_rle.encode_alpha(np.zeros((7, 6), np.uint8)), "holds 168 elements, expected 140 = 4 x 5 x 7"),
        (bytes.fromhex("ffffffff") + GOOD[4:], "holds 4294967295 elements, expected 140"),
        ([1, 2, 256], "a list of integers 0..255"),
        ([1, -2], "a list of integers 0..255"),
        (["a"], "a list of integers 0..255"),
        ("@DBQE", "a list of integers 0..255"),
        (7, "a list of integers 0..255"),
        (None, "a list of integers 0..255"),
        (np.array([0, 300]), "a list of integers 0..255"),
    ],
)
def test_bad_streams_are_named(stream: Any, message: str) -> None:
    with pytest.raises(CodecError, match=f"stream 2: .*{message}"):
        studio_rle.decode([GOOD, GOOD, stream, GOOD], 5, 7)
    with pytest.raises(CodecError, match=f"stream 0: .*{message}"):
        studio_rle.decode_alpha(stream, 5, 7)


def test_a_bad_stream_among_streams_with_literals_is_named() -> None:
    literal = pack(140, [(0, [7] * 140)])
    with pytest.raises(CodecError, match=r"stream 3: .*truncated"):
        studio_rle.decode([literal, GOOD, literal, GOOD[:-3]], 5, 7)


@pytest.mark.parametrize("decode", [lambda s, h, w: studio_rle.decode([s], h, w), studio_rle.decode_alpha])
def test_a_huge_claim_allocates_nothing(decode: Any) -> None:
    side = 32_767  # the header's number of elements is 32 bits; 100,000 x 100,000 does not even fit
    claim = pack(4 * side * side, [(65536, [255])] * 11)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="truncated"):
            decode(claim, side, side)
        with pytest.raises(CodecError, match="expected 40000000000"):
            decode(claim, 100_000, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("alpha", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)])
def test_opacity_is_two_dimensional_uint8(alpha: NDArray[Any]) -> None:
    with pytest.raises(CodecError, match="opacity is a uint8 array"):
        studio_rle.encode_alpha(alpha)


def test_images_that_the_header_cannot_hold() -> None:
    n = 1 << 30
    masks = RunList(1, n, np.array([n]), np.array([0, 1]))
    with pytest.raises(CodecError, match=r"below 2\*\*30 pixels"):
        studio_rle.encode(masks)


def test_no_streams() -> None:
    assert studio_rle.decode([], 3, 4) == RunList.empty(3, 4)
    assert studio_rle.encode(RunList.empty(3, 4)) == []


def test_many_streams_are_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_rle, "_BATCH_BYTES", 100)
    label_map = np.random.default_rng(3).integers(0, 9, (20, 30))
    _, streams = studio_rle.encode_label_map(label_map)
    assert studio_rle.decode(streams, 20, 30) == RunList.from_label_map(label_map)[1]


@given(st.binary(min_size=1, max_size=300))
def test_json_is_the_list_of_the_bytes(data: bytes) -> None:
    assert studio_rle.to_json(data) == json.dumps(list(data), separators=(",", ":")).encode()
    for text in (json.dumps(list(data)), json.dumps(list(data), indent=1), f" {studio_rle.to_json(data).decode()}\n"):
        assert studio_rle.from_json(text.encode()) == data


@given(st.text("[]0125 ,\n9", min_size=0, max_size=14).map(lambda s: f"[{s}]") | st.text('[]12, -"x', max_size=9))
@settings(max_examples=400)
def test_json_is_read_as_the_json_module_reads_it(text: str) -> None:
    try:
        expected = bytes(json.loads(text))
        whole = isinstance(json.loads(text), list)
    except (ValueError, TypeError):
        whole = False
    if whole:
        assert studio_rle.from_json(text.encode()) == expected
    else:
        with pytest.raises(CodecError):
            studio_rle.from_json(text.encode())


@given(
    st.lists(st.text("[]012 ,", max_size=8).map(lambda s: f"[{s}]") | st.sampled_from(["[1,2]", "[3, 44]", "[255]"]))
)
@settings(max_examples=400)
def test_many_lists_are_read_like_each_of_them(texts: list[str]) -> None:
    found = studio_rle.from_json_lists([text.encode() for text in texts])
    for text, one in zip(texts, found, strict=True):
        if isinstance(one, CodecError):
            with pytest.raises(CodecError, match=re.escape(str(one))):
                studio_rle.from_json(text.encode())
        else:
            assert one == studio_rle.from_json(text.encode())


@pytest.mark.parametrize(
    "text", ["[]", "[1]", "[0, 255]", "[256]", "[300]", "[1000]", "[007]", "[1 2]", "[true]", "[1.0]"]
)
def test_json_of_other_numbers_is_refused(text: str) -> None:
    if text in ("[]", "[1]", "[0, 255]"):
        assert studio_rle.from_json(text.encode()) == bytes(json.loads(text))
        return
    with pytest.raises(CodecError):
        studio_rle.from_json(text.encode())
