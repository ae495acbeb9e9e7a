"""PNG masks against Pillow, OpenCV and zlib."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from maskloop_converters.codecs import png
from maskloop_converters.errors import CodecError
from maskloop_converters.masks import RunList

FIXTURES = Path(__file__).parents[2] / "fixtures" / "codecs"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
#: Adam7: first row and column of each pass, and the steps.
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=30)
label_maps = hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 2, 7, 255]))
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=20))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def packed(values: NDArray[Any], depth: int) -> bytes:
    """Return rows of samples, big-endian bits, each row after a filter byte 0."""
    rows = values.reshape(values.shape[0], -1)
    bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits)


def build(values: NDArray[Any], depth: int, color: int, *extra: bytes, interlace: bool = False) -> bytes:
    """Write a PNG file of (H, W) or (H, W, C) values, independently of the code under test."""
    h, w = values.shape[:2]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in PASSES] if interlace else [values]
    raw = b"".join(packed(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlace))
    body = zlib.compress(raw)
    pieces = [chunk(b"IDAT", body[i : i + 50]) for i in range(0, len(body), 50)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + b"".join(pieces) + chunk(b"IEND", b"")


def pillow(data: bytes, mode: str | None = None) -> NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if mode is None else image.convert(mode))


def opencv(data: bytes) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels)


def inflated(data: bytes) -> bytes:
    """Inflate the pixels; zlib compares the checksum, which Pillow does not."""
    return zlib.decompress(b"".join(body for name, body in png._chunks(data) if name == b"IDAT"))


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(
    ("depth", "color"),
    [(d, GREY) for d in (1, 2, 4, 8, 16)] + [(d, PALETTE) for d in (1, 2, 4, 8)] + [(8, c) for c in (2, 4, 6)],
)
def test_values_come_as_they_are_stored(depth: int, color: int, interlace: bool) -> None:
    rng = np.random.default_rng(depth)
    for h, w in [(1, 1), (5, 3), (13, 21)]:
        shape = (h, w) if CHANNELS[color] == 1 else (h, w, CHANNELS[color])
        values = rng.integers(0, 1 << depth, shape).astype(np.uint16 if depth == 16 else np.uint8)
        colors = rng.integers(0, 256, (1 << depth, 3)).astype(np.uint8) if color == PALETTE else None
        extra = () if colors is None else (chunk(b"PLTE", colors.tobytes()),)
        image = png.read(build(values, depth, color, *extra, interlace=interlace))
        assert image.pixels.dtype == values.dtype
        assert image.pixels.tolist() == values.tolist()
        assert image.depth == depth
        assert (image.palette is None) == (colors is None)
        if colors is not None:
            assert image.rgb().tolist() == colors[values].tolist()
        if color in (GREY, PALETTE):
            assert image.indices() is image.pixels


@given(label_maps, st.data())
def test_files_that_others_write(label_map: NDArray[np.uint8], data: st.DataObject) -> None:
    """Pillow and OpenCV filter rows; a palette goes by index, never by brightness."""
    grey, indexed = Image.fromarray(label_map), Image.fromarray(label_map)
    indexed.putpalette([*range(255, -1, -1)] * 3)
    for image in (grey, indexed):
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=data.draw(st.sampled_from([0, 1, 9])))
        assert png.read(file.getvalue()).indices().tolist() == label_map.tolist()
    for pixels in (label_map, label_map * np.uint16(257), np.repeat(label_map[..., None], 3, 2)):
        written = cv2.imencode(".png", pixels)[1].tobytes()
        assert png.read(written).pixels.tolist() == pixels.tolist()


@given(label_maps)
def test_label_maps_written(label_map: NDArray[np.uint8]) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    for pixels in (label_map, label_map * np.uint16(257), label_map.astype(np.uint16), colors[label_map]):
        data = png.write_label_map(pixels)
        assert png.read(data).pixels.tolist() == pixels.tolist()
        assert pillow(data).tolist() == pixels.tolist()
        assert opencv(data).tolist() == (pixels if pixels.ndim == 2 else pixels[..., ::-1]).tolist()
        assert len(inflated(data)) == len(pixels) * (1 + pixels[0].nbytes)
    data = png.write_label_map(label_map, colors)
    image = png.read(data)
    assert image.kind == "palette"
    assert image.indices().tolist() == label_map.tolist()
    assert image.rgb().tolist() == pillow(data, "RGB").tolist() == colors[label_map].tolist()
    assert opencv(data)[..., ::-1].tolist() == colors[label_map].tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 257, 258, 259, 260, 261, 516, 517, 518, 519, 2000])
def test_runs_of_every_length(width: int) -> None:
    one = np.full((3, width), 9, np.uint8)
    one[1, width // 2 :] = 4
    for pixels in (one, one.astype(np.uint16) * 300, np.stack((one, one, one + 1), axis=-1)):
        data = png.write_label_map(pixels)
        assert pillow(data).tolist() == pixels.tolist()
        assert len(inflated(data)) == 3 * (1 + pixels[0].nbytes)


def test_noise_and_gradients() -> None:
    rng = np.random.default_rng(1)
    for pixels in (
        rng.integers(0, 256, (50, 70)).astype(np.uint8),
        np.arange(65536, dtype=np.uint16).reshape(256, 256),
    ):
        data = png.write_label_map(pixels)
        assert pillow(data).tolist() == pixels.tolist() == png.read(data).pixels.tolist()
        assert png.write_label_map(pixels) == data


@given(masks, st.sampled_from([1, 2, 3, 128, 255]))
def test_masks_written_from_runs(stack: NDArray[np.bool_], value: int) -> None:
    k, h, w = stack.shape
    runs = RunList.from_masks(stack, height=h, width=w)
    files = png.write_masks(runs, value)
    assert len(files) == k
    for mask, data in zip(stack, files, strict=True):
        assert pillow(data).tolist() == (mask * np.uint8(value)).tolist()
        assert inflated(data) == packed(mask * np.uint8(value), 8)
    assert png.write_masks(runs.reordered("F"), value) == files
    for mask, data in zip(stack, png.write_alpha(runs), strict=True):
        opacity = (mask * np.uint8(255)).tolist()
        assert pillow(data, "RGBA")[..., 3].tolist() == opacity == png.read(data).alpha().tolist()


def test_large_masks_from_runs() -> None:
    y, x = np.indices((1100, 1300))
    stack = np.stack([np.hypot(y - 500, x - 600) < 300, y > 1098, np.ones_like(y, bool), np.zeros_like(y, bool)])
    for mask, data in zip(stack, png.write_masks(RunList.from_masks(stack, height=1100, width=1300)), strict=True):
        assert inflated(data) == packed(mask.astype(np.uint8), 8)
        assert len(data) < 6000


@pytest.mark.parametrize("name", [p.name for p in sorted(FIXTURES.glob("*.png"))])
def test_label_studios_own_exports(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    assert png.read(data).indices().tolist() == pillow(data).tolist()


@given(label_maps)
def test_alpha_and_colours(label_map: NDArray[np.uint8]) -> None:
    rgba = np.stack((label_map, label_map // 2, label_map // 3, label_map), axis=-1)
    for mode, image in (("RGBA", Image.fromarray(rgba)), ("LA", Image.fromarray(rgba[..., 2:]))):
        file = io.BytesIO()
        image.save(file, "PNG")
        read = png.read(file.getvalue())
        assert read.alpha().tolist() == label_map.tolist()
        assert read.rgb().tolist() == pillow(file.getvalue(), "RGB").tolist(), mode
        with pytest.raises(CodecError, match="holds colours, not label numbers"):
            read.indices()
    assert (png.read(png.write_label_map(label_map)).alpha() == 255).all()


def test_grey_shown_as_colour_is_scaled() -> None:
    values = np.arange(4, dtype=np.uint8).reshape(2, 2)
    data = build(values, 2, GREY)
    assert png.read(data).rgb().tolist() == pillow(data, "RGB").tolist()
    with pytest.raises(CodecError, match="16-bit PNG holds numbers"):
        png.read(png.write_label_map(values.astype(np.uint16))).rgb()


@given(hnp.arrays(np.uint32, shapes, elements=st.integers(0, (1 << 24) - 1)))
def test_panoptic_ids(ids: NDArray[np.uint32]) -> None:
    rgb = np.stack((ids & 255, ids >> 8 & 255, ids >> 16), axis=-1).astype(np.uint8)
    assert png.read(png.write_label_map(rgb)).panoptic_ids().tolist() == ids.tolist()
    with pytest.raises(CodecError, match="this one is grey"):
        png.read(png.write_label_map(rgb[..., 0])).panoptic_ids()


TABLE = np.array([[128, 64, 128], [0, 0, 0], [0, 0, 142], [0, 0, 230]], np.uint8)


@given(hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3)))
def test_colours_to_label_rows(label_map: NDArray[np.uint8]) -> None:
    assert png.from_colors(TABLE[label_map], TABLE).tolist() == label_map.tolist()


def test_an_unknown_colour_is_named() -> None:
    rgb = TABLE[np.zeros((4, 5), int)]
    rgb[2:, 3:] = 1, 2, 3
    with pytest.raises(CodecError, match=r"colour \[1, 2, 3\] at x = 3, y = 2 \(4 pixels\) belongs to no label"):
        png.from_colors(rgb, TABLE)
    with pytest.raises(CodecError, match="belongs to no label"):
        png.from_colors(rgb, TABLE[:0])
    with pytest.raises(CodecError, match=r"labels 1 and 4 have the same colour \[0, 0, 0\]"):
        png.from_colors(rgb, np.concatenate((TABLE, TABLE[1:2])))


GOOD = png.write_label_map(np.arange(12, dtype=np.uint8).reshape(3, 4))


def with_header(width: int, height: int, *rest: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, *(rest or (8, 0, 0, 0, 0)))
    return GOOD[:8] + chunk(b"IHDR", header) + GOOD[33:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PNG file"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not a PNG file"),
        (GOOD[:8], "truncated: 8 bytes end before its IEND"),
        (GOOD[:40], "truncated"),
        (GOOD[:-12], "end before its IEND"),
        (GOOD[:-20], "says .* bytes, .* follow"),
        (GOOD[:50] + bytes([GOOD[50] ^ 1]) + GOOD[51:], "b'IDAT' at byte 33 does not match its CRC"),
        (GOOD[:20] + b"\1" + GOOD[21:], "b'IHDR' at byte 8 does not match its CRC"),
        (GOOD[:8] + GOOD[33:], "starts with chunk b'IDAT'"),
        (with_header(0, 3), "0 x 3 pixels"),
        (with_header(4, 1 << 31), "4 x 2147483648 pixels"),
        (with_header(4, 3, 8, 5, 0, 0, 0), "colour type 5"),
        (with_header(4, 3, 3, 0, 0, 0, 0), "3 bits a channel with colour type 0"),
        (with_header(4, 3, 8, 0, 0, 0, 2), "interlace 2"),
        (with_header(4, 3, 16, 2, 0, 0, 0), "16-bit colour"),
        (with_header(4, 3, 8, 3, 0, 0, 0), "a palette of 0 bytes"),
        (with_header(100_000, 100_000), "claims 100000 x 100000 pixels, more than the 268435456 allowed"),
        (with_header(16_000, 16_000), r"truncated: .* bytes cannot hold 16000 x 16000 pixels"),
        (with_header(4, 4), "inflates to 15 bytes, 4 x 4 pixels of 8 bits take 20"),
        (with_header(4, 2), "inflates to more than its header says, 4 x 2 pixels"),
        (GOOD[:33] + chunk(b"IEND", b""), "truncated: it inflates to 0 bytes"),
        (GOOD[:33] + chunk(b"IDAT", zlib.compress(bytes(15))[:-4]) + GOOD[-12:], "truncated"),
        (GOOD[:33] + chunk(b"IDAT", zlib.compress(bytes(15))[:-4] + b"abcd") + GOOD[-12:], "incorrect data check"),
        (GOOD[:33] + chunk(b"IDAT", b"garbage") + GOOD[-12:], "pixels are damaged"),
        (GOOD[:33] + chunk(b"IDAT", zlib.compress(b"\7\0\0\0\0" * 3)) + GOOD[-12:], "rows are damaged"),
    ],
)
def test_bad_files_are_named(data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        png.read(data)


def test_a_zip_bomb_is_inflated_no_further_than_its_header_says() -> None:
    bomb = GOOD[:33] + chunk(b"IDAT", zlib.compress(bytes(200_000_000), 9)) + GOOD[-12:]
    claim = with_header(16_000, 16_000)
    tracemalloc.start()
    try:
        for data in (bomb, claim):
            with pytest.raises(CodecError):
                png.read(data)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(CodecError, match="more than the 11 allowed"):
        png.read(GOOD, max_pixels=11)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: png.write_label_map(np.zeros((2, 2))), "not float64"),
        (lambda: png.write_label_map(np.zeros((2, 2), np.int64)), "not int64"),
        (lambda: png.write_label_map(np.zeros((0, 2), np.uint8)), r"\(0, 2\)"),
        (lambda: png.write_label_map(np.zeros((2, 2, 4), np.uint8)), r"\(2, 2, 4\)"),
        (lambda: png.write_label_map(np.full((2, 2), 3, np.uint8), TABLE[:3]), "below its 3 colours"),
        (lambda: png.write_label_map(np.zeros((2, 2), np.uint16), TABLE), "not uint16"),
        (lambda: png.write_masks(RunList.empty(2, 2), 0), "is 1..255, not 0"),
        (lambda: png.write_masks(RunList.empty(2, 2), 256), "is 1..255, not 256"),
    ],
)
def test_misuse_is_named(act: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        act()


def test_no_masks() -> None:
    assert png.write_masks(RunList.empty(3, 4)) == png.write_alpha(RunList.empty(3, 4)) == []
    assert png.read(png.write_label_map(np.eye(3, dtype=bool))).pixels.tolist() == np.eye(3, dtype=int).tolist()
