"""PNG files of masks: label maps as they are stored, binary masks and opacity straight from runs.

Label maps are kept as grey or palette images, instances as 16-bit grey, panoptic ids and colour codes as RGB. Readers
that hand out brightness destroy them: here a palette image gives its indices, and a 1-, 2- or 4-bit grey image the
numbers in the file, not numbers scaled to 255. The format: https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import _runs
from ..errors import CodecError
from ..masks import RunList
from . import _deflate

Kind = Literal["grey", "palette", "rgb", "grey-alpha", "rgba"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADLER_PRIME = 65521
_MAX_SIDE = (1 << 31) - 1
#: Images that claim more pixels are refused; 2**28 is 16384 x 16384.
MAX_PIXELS = 1 << 28
# By colour type: kind, bit depths, Pillow's mode and the layout of its rows by depth. "P" keeps numbers as stored.
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_INDEX_ROWS = {1: "P;1", 2: "P;2", 4: "P;4", 8: "P"}
_LAYOUTS: dict[int, tuple[Kind, str, dict[int, str]]] = {
    _GREY: ("grey", "P", {**_INDEX_ROWS, 16: "I;16B"}),
    _RGB: ("rgb", "RGB", {8: "RGB"}),
    _PALETTE: ("palette", "P", _INDEX_ROWS),
    _GREY_ALPHA: ("grey-alpha", "LA", {8: "LA"}),
    _RGBA: ("rgba", "RGBA", {8: "RGBA"}),
}
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
# zlib's tables: runs need none of what is searched, and blocks of 2 ** (6 + 6) symbols with a code each compress best.
_MEMORY = 6
_SUB = 1  # filter type: each byte less the one of the pixel to its left
_MOST_INFLATED = 1032  # deflate's best: two bits for 258 bytes
_STORED_BLOCK = 65535
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps


@dataclass(frozen=True, slots=True, eq=False)
class PngImage:
    """The pixels of a PNG file as they are stored.

    Attributes:
        pixels: (H, W) uint8, or uint16 for a depth of 16: palette indices or grey values; (H, W, C) uint8 for colour,
            C = 3 (rgb), 4 (rgba) or 2 (grey-alpha).
        kind: what the pixels are.
        depth: bits of a channel in the file: 1, 2, 4, 8 or 16.
        palette: uint8 (N, 3), red, green, blue of each index; None unless the kind is 'palette'.
        palette_alpha: uint8 (N,), opacity of each index; None where the file gives none.
    """

    pixels: NDArray[Any]
    kind: Kind
    depth: int
    palette: NDArray[np.uint8] | None = None
    palette_alpha: NDArray[np.uint8] | None = None

    def indices(self) -> NDArray[Any]:
        """Return the label map: uint8 or uint16 (H, W), palette indices or grey values.

        Raises:
            CodecError: a colour image; its labels need a colour table (:func:`from_colors`) or are panoptic ids.
        """
        if self.kind not in ("grey", "palette"):
            raise CodecError(f"a {self.kind} PNG holds colours, not label numbers; give the colour of each label")
        return self.pixels

    def rgb(self) -> NDArray[np.uint8]:
        """Return the colours: uint8 (H, W, 3). Grey of less than 8 bits is scaled to 255, 16 bits are refused."""
        if self.palette is not None:
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(self.palette)] = self.palette
            return palette.take(self.pixels, axis=0)
        if self.depth == 16:
            raise CodecError("a 16-bit PNG holds numbers, not colours")
        if self.kind == "grey":
            scaled = self.pixels * np.uint8(255 // ((1 << self.depth) - 1))
            return np.repeat(scaled[..., None], 3, axis=2)
        if self.kind == "grey-alpha":
            return np.repeat(self.pixels[..., :1], 3, axis=2)
        return np.ascontiguousarray(self.pixels[..., :3])

    def panoptic_ids(self) -> NDArray[np.uint32]:
        """Return R + 256 G + 65536 B of every pixel, COCO's panoptic ids: uint32 (H, W).

        Raises:
            CodecError: not an RGB image.
        """
        if self.kind not in ("rgb", "rgba"):
            raise CodecError(f"panoptic ids stand in an RGB PNG, this one is {self.kind}")
        return color_ids(self.pixels)

    def alpha(self) -> NDArray[np.uint8]:
        """Return the opacity: uint8 (H, W), 255 everywhere where the file has none."""
        if self.kind in ("rgba", "grey-alpha"):
            return np.ascontiguousarray(self.pixels[..., -1])
        opacity = np.full(256, 255, np.uint8)
        if self.palette_alpha is None:
            return np.full(self.pixels.shape[:2], 255, np.uint8)
        opacity[: self.palette_alpha.size] = self.palette_alpha
        return opacity.take(self.pixels)


def read(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PngImage:
    """Return the pixels of a PNG file as they are stored, whatever its depth, interlaced or not.

    Memory is bounded by the size that the header states, and that by ``max_pixels``: the compressed data is inflated
    row by row and not beyond the last one. Every checksum is compared.

    Raises:
        CodecError: not a PNG, truncated, damaged, larger than allowed, or 16-bit colour (which no label map is).
    """
    chunks = _chunks(data)
    width, height, depth, color, interlaced = _read_header(chunks)
    if width * height > max_pixels:
        raise CodecError(f"PNG claims {width} x {height} pixels, more than the {max_pixels} allowed")
    kind, _, _ = _LAYOUTS[color]
    compressed = b"".join(body for name, body in chunks if name == b"IDAT")
    raw = _inflate(compressed, width, height, depth * _CHANNELS[color], interlaced)
    palette = palette_alpha = None
    if color == _PALETTE:
        palette, palette_alpha = _read_palette(chunks)
    return PngImage(_pixels(raw, width, height, depth, color, interlaced), kind, depth, palette, palette_alpha)


def _inflate(compressed: bytes, width: int, height: int, pixel_bits: int, interlaced: bool) -> bytes:
    """Return the filtered rows: exactly as many bytes as the header asks for, checked against their Adler-32."""
    sizes = [(width, height)]
    if interlaced:
        sizes = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in _PASSES]
    size = sum(h * (1 + (w * pixel_bits + 7) // 8) for w, h in sizes if w > 0 and h > 0)
    what = f"{width} x {height} pixels of {pixel_bits} bits"
    if size > (len(compressed) + 1) * _MOST_INFLATED:  # before anything of that size is allocated
        raise CodecError(f"PNG truncated: {len(compressed)} compressed bytes cannot hold {what}")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(compressed, size)
        beyond = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise CodecError(f"PNG pixels are damaged: {error}") from None
    if beyond:
        raise CodecError(f"PNG damaged: it inflates to more than its header says, {what} in {size} bytes")
    if len(raw) != size or not inflater.eof:
        raise CodecError(f"PNG truncated: it inflates to {len(raw)} bytes, {what} take {size}")
    return raw


def _pixels(raw: bytes, width: int, height: int, depth: int, color: int, interlaced: bool) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) pixels of filtered rows."""
    channels = _CHANNELS[color]
    if depth >= 8 and not interlaced:
        rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
        if not rows[:, 0].any():  # no row is filtered: what palette images look like
            values = np.ascontiguousarray(rows[:, 1:]).view(np.uint8 if depth == 8 else ">u2")
            shape = (height, width) if channels == 1 else (height, width, channels)
            return values.reshape(shape).astype(np.uint8 if depth == 8 else np.uint16, copy=False)
    _, mode, layouts = _LAYOUTS[color]
    try:
        # Filters and passes are undone by Pillow's row decoder, which wants the rows in a zlib stream: stored.
        image = Image.frombytes(
            "I;16" if depth == 16 else mode,
            (width, height),
            _stored(raw),
            "zip",
            (layouts[depth], int(interlaced)),
        )
    except (ValueError, OSError) as error:
        raise CodecError(f"PNG rows are damaged: {error}") from None
    return np.asarray(image)


def _stored(raw: bytes) -> bytes:
    """Return a zlib stream of stored blocks, without the checksum that nobody compares once the rows are complete."""
    pieces = [b"\x78\x01"]
    for start in range(0, len(raw), _STORED_BLOCK):
        size = min(_STORED_BLOCK, len(raw) - start)
        last = start + size == len(raw)
        pieces += [struct.pack("<BHH", last, size, size ^ 0xFFFF), raw[start : start + size]]
    return b"".join(pieces)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, body) of all chunks up to IEND; CodecError where one is cut off or does not match its CRC."""
    if data[:8] != _SIGNATURE:
        raise CodecError(f"not a PNG file: it starts with {data[:8]!r}")
    found: list[tuple[bytes, bytes]] = []
    at, view = 8, memoryview(data)
    while not found or found[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise CodecError(f"PNG truncated: {len(data)} bytes end before its IEND chunk")
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            raise CodecError(
                f"PNG truncated: chunk {name!r} at byte {at} says {size} bytes, {len(data) - at - 12} follow"
            )
        stated = int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        if zlib.crc32(view[at + 4 : at + 8 + size]) != stated:
            raise CodecError(f"PNG damaged: chunk {name!r} at byte {at} does not match its CRC {stated:08x}")
        found.append((name, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _read_header(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int, int, int, bool]:
    """Return width, height, bit depth, colour type and whether rows are interlaced."""
    name, body = chunks[0]
    if name != b"IHDR" or len(body) != 13:
        raise CodecError(f"PNG damaged: it starts with chunk {name!r} of {len(body)} bytes, expected IHDR of 13")
    width, height, depth, color, method, filters, interlace = struct.unpack(">IIBBBBB", body)
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise CodecError(f"PNG damaged: {width} x {height} pixels")
    if color not in _LAYOUTS or method or filters or interlace > 1:
        raise CodecError(
            f"PNG damaged: colour type {color}, compression {method}, filter {filters}, interlace {interlace}"
        )
    if depth not in _LAYOUTS[color][2]:
        if depth == 16:
            raise CodecError("a 16-bit colour PNG is no mask that maskloop knows; save it with 8 bits a channel")
        raise CodecError(f"PNG damaged: {depth} bits a channel with colour type {color}")
    return width, height, depth, color, bool(interlace)


def _read_palette(chunks: list[tuple[bytes, bytes]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return the colours and opacities of a palette."""
    bodies = dict(chunks)
    colors = bodies.get(b"PLTE", b"")
    if not colors or len(colors) % 3 or len(colors) > 768:
        raise CodecError(f"PNG damaged: a palette of {len(colors)} bytes, expected 3 for each of 1 to 256 colours")
    alpha = bodies.get(b"tRNS")
    return (
        np.frombuffer(colors, np.uint8).reshape(-1, 3),
        None if alpha is None else np.frombuffer(alpha[:256], np.uint8),
    )


def color_ids(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return R + 256 G + 65536 B of (..., 3 or more) uint8 pixels as uint32 (...)."""
    ids = rgb[..., 2].astype(np.uint32)
    ids <<= 8
    ids |= rgb[..., 1]
    ids <<= 8
    ids |= rgb[..., 0]
    return ids


def from_colors(rgb: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the row of ``table`` that holds each pixel's colour.

    Args:
        rgb: uint8 (H, W, 3).
        table: uint8 (N, 3), the colour of each label; no colour stands twice.

    Returns:
        int64 (H, W), 0..N - 1.

    Raises:
        CodecError: a colour that is not in the table; the message gives it, where it is first seen and how often.
    """
    keys = color_ids(np.asarray(table, np.uint8).reshape(-1, 3))
    order = keys.argsort(kind="stable")
    sorted_keys = keys[order]
    if (sorted_keys[1:] == sorted_keys[:-1]).any():
        at = int((sorted_keys[1:] == sorted_keys[:-1]).argmax())
        raise CodecError(f"labels {order[at]} and {order[at + 1]} have the same colour {table[order[at]].tolist()}")
    ids = color_ids(rgb)
    flat = ids.ravel()
    starts = np.concatenate(([0], _runs.changes(flat, 1) + 1))
    run = flat.take(starts)
    row = np.minimum(sorted_keys.searchsorted(run), max(keys.size - 1, 0))
    unknown = sorted_keys.take(row) != run if keys.size else np.ones(run.size, bool)
    if unknown.any():
        first = int(starts[unknown.argmax()])
        color = rgb.reshape(-1, rgb.shape[-1])[first, :3].tolist()
        y, x = divmod(first, ids.shape[1])
        many = int((flat == flat[first]).sum())
        raise CodecError(f"colour {color} at x = {x}, y = {y} ({many} pixels) belongs to no label")
    return np.repeat(order.take(row), np.diff(starts, append=flat.size)).reshape(ids.shape)


def write_label_map(pixels: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return the PNG file of a label map; the same pixels give the same bytes (another version of zlib may give others).

    Args:
        pixels: (H, W) uint8 or bool (8-bit grey, or palette), (H, W) uint16 (16-bit grey), (H, W, 3) uint8 (RGB).
        palette: uint8 (N, 3), red, green and blue of ids 0..N - 1, N > every id; makes a palette image.

    Raises:
        CodecError: another shape or type, or ids beyond the palette.
    """
    a = np.ascontiguousarray(pixels)
    a = a.view(np.uint8) if a.dtype == bool else a
    flat = a.ndim == 2 and a.dtype in (np.uint8, np.uint16)
    if not a.size or not (flat or (a.ndim == 3 and a.shape[2] == 3 and a.dtype == np.uint8)):
        raise CodecError(f"a label map is uint8 or uint16 (H, W) or uint8 (H, W, 3), not {a.dtype} {a.shape}")
    h, w = a.shape[:2]
    before = b""
    if palette is not None:
        colors = np.asarray(palette, np.uint8)
        if a.dtype != np.uint8 or not flat or colors.shape[1:] != (3,) or not int(a.max()) < len(colors) <= 256:
            raise CodecError(
                f"a palette takes uint8 ids below its {len(colors)} colours (at most 256, shape (N, 3)), "
                f"not {a.dtype} up to {a.max()}"
            )
        before = _chunk(b"PLTE", colors.tobytes())
    size = a.itemsize * (1 if flat else 3)
    pixels = (a.astype(">u2") if a.dtype == np.uint16 else a).view(np.uint8).reshape(h, w * size)
    rows = np.zeros((h, 1 + w * size), np.uint8)
    rows[:, 1:] = pixels
    if size > 1:  # the filter "Sub" turns runs of equal pixels into runs of one byte, which is what is searched for
        rows[:, 0] = _SUB
        rows[:, 1 + size :] -= pixels[:, :-size]
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, _MEMORY, zlib.Z_RLE)
    stream = deflate.compress(rows.data) + deflate.flush()
    color = _PALETTE if palette is not None else _GREY if flat else _RGB
    return _file(w, h, 8 * a.itemsize, color, before, stream)


def write_masks(masks: RunList, value: int = 1) -> list[bytes]:
    """Return one 8-bit grey PNG file a mask, ``value`` (1..255) where it is, 0 elsewhere; composed from the runs."""
    return _two_valued(masks, value, _GREY, b"")


def write_alpha(masks: RunList) -> list[bytes]:
    """Return one PNG file a mask whose opacity is the mask, as Label Studio's BitmaskLabels wants it.

    Palette images: index 0 transparent, index 1 opaque black; browsers and Pillow give them as RGBA.
    """
    return _two_valued(masks, 1, _PALETTE, _chunk(b"PLTE", bytes(6)) + _chunk(b"tRNS", b"\0\xff"))


def _two_valued(masks: RunList, value: int, color: int, before: bytes) -> list[bytes]:
    """Return the files of masks; a row of a file is a filter byte 0 and its pixels, so rows are runs as well."""
    if not 1 <= value <= 255:
        raise CodecError(f"the value of a mask's pixels is 1..255, not {value}")
    masks = masks.reordered("C")
    h, w, k = masks.height, masks.width, len(masks)
    total = h * (w + 1)
    starts, ends, owner = _in_file(masks)
    sizes = ends - starts
    per_mask = np.bincount(owner, minlength=k)
    # Runs alternate: zeros before each run of ones, and zeros to the end (none if the last pixel is one).
    offsets = np.zeros(k + 1, np.int64)
    np.cumsum(2 * per_mask + 1, out=offsets[1:])
    ones = 2 * np.arange(owner.size) + owner + 1
    where = np.full(int(offsets[-1]), total, np.int64)
    where[ones - 1], where[ones] = starts, ends
    length = _runs.lengths(where, offsets)
    code, run, run_bits = _deflate.two_valued(value)
    written = np.maximum(length - 1, 0)
    matches, token = np.divmod(written, _deflate.LONGEST_MATCH)
    token[ones] += _deflate.LONGEST_MATCH
    bits = run_bits.take(token) + 2 * matches  # matches of 258 are zero bits
    codes = run.take(token).astype(np.uint64)
    nothing = length == 0
    if nothing.any():
        bits[nothing] = 0
        codes[nothing] = 0
    streams = _deflate.compose(code, codes, bits, offsets)
    sums = _adler(starts, ends, sizes, owner, k, value, total)
    return [_file(w, h, 8, color, before, s + a.to_bytes(4, "big")) for s, a in zip(streams, sums, strict=True)]


def _in_file(masks: RunList) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs of ones cut at row ends, as byte positions of the unfiltered file, and the mask of each."""
    starts, ends, owner = masks.intervals()
    w = masks.width
    y = starts // w
    rows = (ends - 1) // w - y + 1
    if rows.size and rows.max() > 1:
        which = np.arange(starts.size).repeat(rows)
        y = y[which] + np.arange(which.size) - (rows.cumsum() - rows).repeat(rows)
        starts, ends, owner = np.maximum(starts[which], y * w), np.minimum(ends[which], (y + 1) * w), owner[which]
    return starts + y + 1, ends + y + 1, owner


def _adler(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    sizes: NDArray[np.int64],
    owner: NDArray[np.int64],
    k: int,
    value: int,
    total: int,
) -> list[int]:
    """Return the Adler-32 of K files of ``total`` bytes that are ``value`` in the given ranges, else 0.

    The first sum is 1 plus all bytes, the second the sum of the first after each byte: a byte at position i adds
    ``total - i`` times its value.
    """
    first = np.bincount(owner, sizes, k).astype(np.int64) % _ADLER_PRIME
    weight = sizes * (2 * total - starts - ends + 1) // 2 % _ADLER_PRIME
    second = np.bincount(owner, weight, k).astype(np.int64) % _ADLER_PRIME
    low = (1 + value * first) % _ADLER_PRIME
    high = (total + value * second) % _ADLER_PRIME
    sums: list[int] = (high << 16 | low).tolist()
    return sums


def _chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk: size, name, body, CRC."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _file(width: int, height: int, depth: int, color: int, before: bytes, stream: bytes) -> bytes:
    """Return a PNG file; ``before`` holds the chunks between header and pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + before + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")
