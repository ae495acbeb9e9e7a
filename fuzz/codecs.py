"""Feed mutated streams to every decoder: each must return valid masks or raise CodecError, in bounded memory.

    python fuzz/codecs.py --runs 100000                 # that many streams for each codec
    python fuzz/codecs.py --codec png --start 70000     # go on, or repeat one stream: --start N --runs 1

A stream is made from its number alone, so a failure is repeated by the command that is printed with it.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as pycoco

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

from mutations import mutate

from maskloop_converters.codecs import coco_rle, png, studio_rle, tfexample
from maskloop_converters.errors import CodecError
from maskloop_converters.masks import RunList

MEMORY = 512 << 20  # address space beyond what is mapped at the start; more is a failure
HEIGHT, WIDTH = 23, 37


@dataclass(frozen=True)
class Target:
    """A decoder under test.

    Attributes:
        seeds: valid streams to start from.
        check: decodes a stream, and compares the result with another way to it; CodecError is a pass.
        mutate: makes a damaged copy of a stream, with pieces of another one.
    """

    seeds: list[bytes]
    check: Callable[[bytes], None]
    mutate: Callable[[bytes, bytes, random.Random], bytes]


def label_maps() -> list[np.ndarray]:
    """Return small maps of every kind: one id, bands, blobs, noise, runs longer than a record."""
    rng = np.random.default_rng(0)
    y, x = np.indices((HEIGHT, WIDTH))
    return [
        np.zeros((HEIGHT, WIDTH), np.uint8),
        (y // 5).astype(np.uint8),
        ((np.hypot(y - 11, x - 18) < 8) + 2 * (x > 30)).astype(np.uint8),
        rng.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8),
    ]


def check_studio(data: bytes) -> None:
    masks = studio_rle.decode([data, data], HEIGHT, WIDTH).validate()
    alpha = studio_rle.decode_alpha(data, HEIGHT, WIDTH)
    assert ((alpha > 127) == masks.mask(1)).all()
    assert (studio_rle.decode_alpha(studio_rle.encode_alpha(alpha), HEIGHT, WIDTH) == alpha).all()


def studio_seeds() -> list[bytes]:
    rng = np.random.default_rng(1)
    soft = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    streams = [s for label_map in label_maps() for s in studio_rle.encode_label_map(label_map)[1]]
    literals = f"{4 * HEIGHT * WIDTH:032b}" + "00111" + "0010001101111111"
    for start in range(0, 4 * HEIGHT * WIDTH, 4 * WIDTH):
        values = "".join(f"{v:08b}" for v in np.repeat(soft.ravel(), 4)[start : start + 4 * WIDTH])
        literals += f"010{4 * WIDTH - 1:08b}{values}"
    literals += "0" * (-len(literals) % 8)
    wide = f"{4 * HEIGHT * WIDTH:032b}" + "01111" + "0010001101111111" + "1" + "11" + f"{4 * HEIGHT * WIDTH - 1:016b}"
    wide += f"{200:016b}"
    wide += "0" * (-len(wide) % 8)
    packed = [int(bits, 2).to_bytes(len(bits) // 8, "big") for bits in (literals, wide)]
    return [*streams, studio_rle.encode_alpha(soft), *packed]


def check_coco(data: bytes) -> None:
    masks = coco_rle.decode([data, data], HEIGHT, WIDTH).validate()
    again = coco_rle.encode(masks)
    expected = pycoco.decode({"size": [HEIGHT, WIDTH], "counts": data})
    assert (masks.mask(1) == expected.astype(bool)).all()
    assert coco_rle.decode(again, HEIGHT, WIDTH) == masks


def check_png(data: bytes) -> None:
    image = png.read(data, max_pixels=1 << 22)
    assert image.pixels.shape[0] * image.pixels.shape[1] <= 1 << 22
    image.alpha()
    if image.depth < 16:
        image.rgb()


def png_seeds() -> list[bytes]:
    colors = np.random.default_rng(2).integers(0, 256, (256, 3)).astype(np.uint8)
    seeds = []
    for label_map in label_maps():
        seeds += [png.write_label_map(pixels) for pixels in (label_map, label_map * np.uint16(300), colors[label_map])]
        seeds.append(png.write_label_map(label_map, colors[:9]))
        seeds += png.write_alpha(RunList.from_label_map(label_map)[1])[:1]
        palette = Image.fromarray(label_map)
        palette.putpalette([0, 0, 0] * 16)
        seeds.append(saved(palette, bits=4))
        seeds += [saved(Image.fromarray(label_map).convert(mode)) for mode in ("1", "L", "LA", "RGBA")]
    return seeds


def saved(image: Image.Image, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (name, body) of the chunks of a file as far as their sizes lead; the last body may be cut."""
    found, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def mutate_png(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Damage the file, or the file with its CRCs made right again, or the rows inside its compressed data."""
    depth = source.randrange(3)
    if depth == 0:
        return mutate(data, other, source)
    if depth == 1:
        chunks = png_chunks(mutate(data, other, source))
    else:
        chunks = png_chunks(data)
        rows = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
        packed = zlib.compress(mutate(rows, rows, source))
        chunks = [(name, packed if name == b"IDAT" else body) for name, body in chunks]
    crcs = [struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks]
    parts = [struct.pack(">I", len(c[1])) + c[0] + c[1] + crc for c, crc in zip(chunks, crcs, strict=True)]
    return data[:8] + b"".join(parts)


def check_records(data: bytes) -> None:
    skipped: list[CodecError] = []
    for record in tfexample.read_records(io.BytesIO(data), on_damaged=skipped.append, max_bytes=1 << 24):
        check_example(record)


def check_example(data: bytes) -> None:
    features = tfexample.decode_example(data)
    again = tfexample.decode_example(tfexample.encode_example(features))
    assert {k: np.asarray(v).tobytes() for k, v in again.items() if len(v)} == {
        k: np.asarray(v).tobytes() for k, v in features.items() if len(v)
    }


def example_seeds() -> list[bytes]:
    image = png.write_label_map(label_maps()[2])
    one = tfexample.encode_example({"image/encoded": image, "image/height": HEIGHT, "image/filename": "a/b.png"})
    boxes = {"xmin": np.linspace(0, 1, 5), "label": np.array([1, 300, -1, 1 << 40]), "mask": [image, b"", image]}
    unpacked = b"\x0a\x16\x0a\x14\x0a\x01f\x12\x0f\x12\x0d\x0d\0\0\x80\x3f\x48\x05\x0a\x04\0\0\0\x40"
    return [one, tfexample.encode_example(boxes), unpacked, b""]


def record_seeds() -> list[bytes]:
    seeds = []
    for compression in ("", "GZIP"):
        file = io.BytesIO()
        tfexample.write_records(file, [*example_seeds(), bytes(300)], compression)  # type: ignore[arg-type]
        seeds.append(file.getvalue())
    return [*seeds, zlib.compress(seeds[0])]


def mutate_records(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Damage the file; half the time recompute the checksums of a plain file as far as its lengths lead."""
    out, at = bytearray(mutate(data, other, source)), 0
    if source.random() < 0.5:
        return bytes(out)
    while at + 16 <= len(out):
        size = int.from_bytes(out[at : at + 8], "little")
        out[at + 8 : at + 12] = struct.pack("<I", tfexample.masked_crc(bytes(out[at : at + 8])))
        if at + 16 + size > len(out):
            break
        body = bytes(out[at + 12 : at + 12 + size])
        out[at + 12 + size : at + 16 + size] = struct.pack("<I", tfexample.masked_crc(body))
        at += 16 + size
    return bytes(out)


TARGETS: dict[str, Callable[[], Target]] = {
    "studio_rle": lambda: Target(studio_seeds(), check_studio, mutate),
    "coco_rle": lambda: Target([c for a in label_maps() for c in coco_rle.encode_label_map(a)[1]], check_coco, mutate),
    "png": lambda: Target(png_seeds(), check_png, mutate_png),
    "tfrecord": lambda: Target(record_seeds(), check_records, mutate_records),
    "example": lambda: Target(example_seeds(), check_example, mutate),
}


def run(name: str, start: int, runs: int) -> bool:
    """Feed streams start..start + runs - 1 to one decoder; return whether all passed."""
    target = TARGETS[name]()
    accepted, begun = 0, time.monotonic()
    for number in range(start, start + runs):
        source = random.Random(f"{name} {number}")
        data = target.mutate(source.choice(target.seeds), source.choice(target.seeds), source)
        try:
            target.check(data)
            accepted += 1
        except CodecError:
            pass
        except Exception as error:  # noqa: BLE001  every other error is what this looks for
            traceback.print_exc()
            print(f"{name}: stream {number} ended in {type(error).__name__}, expected masks or CodecError")
            print(
                f"repeat: python fuzz/codecs.py --codec {name} --start {number} --runs 1\nstream: {data[:4000].hex()}"
            )
            return False
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    seconds = time.monotonic() - begun
    print(f"{name}: {runs} streams from {start}: {accepted} decoded, {runs - accepted} refused with CodecError; "
          f"{runs / seconds:.0f}/s, peak {peak} MiB", flush=True)  # fmt: skip
    return True


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000, help="streams for each codec (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="number of the first stream (default %(default)s)")
    parser.add_argument("--codec", choices=TARGETS, action="append", help="only this one (may be repeated)")
    arguments = parser.parse_args()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY,) * 2)
    results = [run(name, arguments.start, arguments.runs) for name in arguments.codec or TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
