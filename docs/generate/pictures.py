"""Draw docs/images/fcn.svg, rle.svg and gate.svg for the explanations.

    python docs/generate/pictures.py

The run lengths are those that the codecs compute, and the gate's figures are its own: a test draws them again.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

import maskloop_converters as mc
from maskloop_backend.evaluation import gate
from maskloop_converters.codecs import coco_rle, studio_rle

IMAGES = Path(__file__).parents[1] / "images"
INK, BLUE, GREEN, RED = "#222", "#3b73b9", "#3d8b4f", "#b94a48"


def _text(x: float, y: float, text: str, *, size: int = 13, anchor: str = "middle", colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, *, fill: str, line: str = INK) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" fill="{fill}" stroke="{line}"/>'


def _arrow(x1: float, y1: float, x2: float, y2: float, colour: str = INK) -> str:
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def _drawing(width: int, height: int, title: str, parts: list[str]) -> str:
    """Return an SVG on white, which reads on dark pages too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif">\n'
        f"<title>{escape(title)}</title>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#222"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def fcn() -> str:
    """Draw an FCN-8s: the classifier's maps that shrink, scores at three of them, and the way back to the image."""
    parts = []
    maps = (
        (90, 200, "image", "1"),
        (250, 120, "", "1/4"),
        (400, 88, "", "1/8"),
        (550, 60, "", "1/16"),
        (700, 40, "", "1/32"),
    )
    for index, (x, side, name, scale) in enumerate(maps):
        parts.append(_box(x - side / 4, 125 - side / 2, side / 2, side, fill="#dbe7f5" if index else "#eee"))
        parts.append(_text(x, 125 + side / 2 + 18, name or f"{scale} of its size", size=12))
        if index:
            before_x, before_side = maps[index - 1][:2]
            parts.append(_arrow(before_x + before_side / 4 + 2, 125, x - side / 4 - 4, 125))
    parts.append(_text(430, 22, "a pretrained classifier without its last layers: maps shrink, channels grow", size=14))
    # scores and the way back, from the coarsest on
    for x, side, top, scale in ((700, 40, 125, "1/32"), (550, 60, 125, "1/16"), (400, 88, 125, "1/8")):
        parts.append(_arrow(x, top + side / 2 + 24, x, 306, GREEN))
        parts.append(_box(x - 42, 308, 84, 40, fill="#dff0e2", line=GREEN))
        parts.append(_text(x, 325, "1x1 scores", size=12))
        parts.append(_text(x, 341, f"at {scale}", size=12))
    for left, right in ((550, 700), (400, 550)):
        parts.append(_arrow(right - 44, 328, left + 48, 328, BLUE))
        parts.append(_text((left + right) / 2 + 2, 318, "x2, +", size=12, colour=BLUE))
    parts.append(_arrow(356, 328, 140, 328, BLUE))
    parts.append(_text(250, 318, "x8", size=12, colour=BLUE))
    parts.append(_box(46, 296, 88, 64, fill="#dff0e2", line=GREEN))
    parts.append(_text(90, 325, "a class for", size=12))
    parts.append(_text(90, 341, "every pixel", size=12))
    parts.append(_text(400, 388, "transposed convolutions multiply the resolution; finer scores are added on the way"))
    return _drawing(790, 404, "FCN-8s", parts)


def rle() -> str:
    """Draw a small mask and the same mask as runs: along rows as Label Studio, along columns as COCO."""
    mask = np.zeros((5, 8), bool)
    mask[1, 2:5] = mask[2, 1:7] = mask[3, 3:5] = True
    runs = mc.RunList.from_masks(mask[None], height=5, width=8)
    rows = _runs(mask.ravel())
    columns = _runs(mask.ravel(order="F"))
    (coco,) = coco_rle.encode(runs)
    (studio,) = studio_rle.encode(runs)
    parts = []
    for y, x in np.ndindex(mask.shape):
        parts.append(_box(30 + 34 * x, 40 + 34 * y, 34, 34, fill="#3b73b9" if mask[y, x] else "#f4f4f4", line="#bbb"))
    parts.append(_text(166, 28, "a mask of 5 x 8 pixels"))
    left = 340
    lines = [
        ("along the rows: so many 0, so many 1, so many 0, ...", INK, 13),
        (" ".join(map(str, rows)), BLUE, 15),
        (f"Label Studio: the same as a stream of {len(studio)} bytes,", INK, 13),
        ("which holds four bytes (RGBA) a pixel, the opacity in all of them", INK, 13),
        ("down the columns:", INK, 13),
        (" ".join(map(str, columns)), BLUE, 15),
        (f'COCO: "{coco.decode()}", 5 bits a letter; from the fourth number on', INK, 13),
        ("the difference to the one two before", INK, 13),
    ]
    parts += [
        _text(left, 52 + 26 * n, line, size=size, anchor="start", colour=colour)
        for n, (line, colour, size) in enumerate(lines)
    ]
    return _drawing(760, 260, "Run lengths", parts)


def _runs(pixels: np.ndarray) -> list[int]:
    """Return the lengths of alternating runs, zeros first."""
    changes = np.flatnonzero(np.diff(pixels, prepend=False)).tolist()
    ends = [*changes, len(pixels)]
    return [end - start for start, end in zip([0, *changes], ends, strict=True)]


def gate_picture() -> str:
    """Draw what a new version is asked before it is served."""
    questions = [
        (f"holdout of {gate.MINIMUM_IMAGES} images or more?", "label more images"),
        ("every class that a project uses still there?", "that class would be lost"),
        (f"mIoU on the holdout: drops by at most {gate.TOLERANCE:g}?", "it got worse"),
        (f"no class loses more than {gate.CLASS_TOLERANCE:g} IoU?", "one class was paid for the others"),
        (f"rises, in {gate.CERTAINTY:.0%} of the redraws?", "it may be luck"),
    ]
    parts = [_box(150, 14, 260, 38, fill="#eee"), _text(280, 38, "a version that was just trained")]
    for index, (question, answer) in enumerate(questions):
        y = 82 + 70 * index
        parts += [
            _arrow(280, y - 30, 280, y - 2),
            _box(110, y, 340, 40, fill="#dbe7f5", line=BLUE),
            _text(280, y + 25, question),
        ]
        parts += [_arrow(450, y + 20, 508, y + 20, RED), _text(478, y + 14, "no", size=12, colour=RED)]
        parts.append(_text(516, y + 25, answer, anchor="start", colour=RED))
    y = 82 + 70 * len(questions)
    parts += [_arrow(280, y - 30, 280, y - 2), _text(296, y - 10, "yes", size=12, anchor="start", colour=GREEN)]
    parts += [_box(110, y, 340, 40, fill="#dff0e2", line=GREEN), _text(280, y + 25, "promoted: served to its project")]
    return _drawing(760, y + 56, "The gate", parts)


PICTURES = {"fcn.svg": fcn, "rle.svg": rle, "gate.svg": gate_picture}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")
