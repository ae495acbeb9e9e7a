"""What became of a prediction when somebody submitted its task: read off the webhook's annotation and its prediction.

Label Studio says of every region whether it is still as predicted, was changed or was drawn by hand, and sends the
prediction that the annotator began with. That tells what was kept, changed, removed and added; the masks tell how many
pixels. Nothing is asked of anybody, and nothing but counts and class names is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import numpy as np
import orjson
from numpy.typing import NDArray

from maskloop_converters.codecs import studio_rle
from maskloop_converters.errors import DataError
from maskloop_converters.formats.labelstudio import stacking
from maskloop_converters.formats.labelstudio.decoding import decode
from maskloop_converters.formats.labelstudio.results import Shape, shapes
from maskloop_converters.report import ErrorPolicy
from maskloop_converters.samples import Region

Kind = Literal["accepted", "changed", "rejected", "drawn"]
KINDS: tuple[Kind, ...] = ("accepted", "changed", "rejected", "drawn")
SUBMITTED = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED"})

# Classes of one task, and characters of their names and of a version's, that are kept.
MOST_CLASSES = 100
LONGEST_NAME = 100
# Pixels of an image whose masks are compared; those of a larger one are counted by regions only.
MOST_PIXELS = 1 << 26

# As in serving.limits: in JSON, `"rle":` is a key wherever it stands.
_MASKS = re.compile(rb'"rle"\s*:\s*(\[[\d\s,]*\])')


@dataclass(slots=True)
class Fate:
    """What became of one class in one task.

    Attributes:
        kept: regions that were left as predicted.
        changed: predicted regions whose outline or label was changed.
        removed: predicted regions that are gone.
        added: regions drawn by hand.
        pixels: that the prediction or the person gave the class.
        off: of these, how many only one of the two gave it.
    """

    kept: int = 0
    changed: int = 0
    removed: int = 0
    added: int = 0
    pixels: int = 0
    off: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the prediction of one task.

    Attributes:
        project: Label Studio's id.
        task: likewise.
        annotation: likewise.
        version: of the model that predicted; None where that is not known, or nothing was predicted.
        kind: 'accepted' as it was, 'changed', 'rejected' (no region of it is left), 'drawn' without a prediction.
        pixels: that the prediction or the person gave a class; 0 where the masks could not be compared.
        off: of these, how many have another class, or none, in the other.
        classes: by label, as the project calls it.
    """

    project: int
    task: int
    annotation: int
    version: str | None
    kind: Kind
    pixels: int = 0
    off: int = 0
    classes: Mapping[str, Fate] = field(default_factory=dict)


def read_event(body: bytes) -> Any:
    """Return a webhook's body as JSON values, brushes as bytes: a Python object for each of their numbers would fill memory.

    Raises:
        ValueError: it is no JSON.
    """
    texts: list[bytes] = []

    def cut(found: re.Match[bytes]) -> bytes:
        texts.append(found[1])
        return b'"rle":[%d]' % (len(texts) - 1)

    event = orjson.loads(_MASKS.sub(cut, body))
    streams = studio_rle.from_json_lists(texts)
    annotation = event.get("annotation") if isinstance(event, dict) else None
    if isinstance(annotation, dict):
        for item in (*_items(annotation), *_items(annotation.get("prediction"))):
            value = item.get("value")
            stands = value.get("rle") if isinstance(value, dict) else None
            # a list of one whole number that was not cut would have a sign
            if isinstance(value, dict) and isinstance(stands, list) and len(stands) == 1 and _is_number(stands[0]):
                stream = streams[stands[0]] if stands[0] >= 0 else None
                value["rle"] = stream if isinstance(stream, bytes) else []
    return event


def outcome_of(event: Mapping[str, Any]) -> Outcome | None:
    """Return what an event says of a prediction, None where it says nothing: another event, or a task that was skipped.

    Args:
        event: of :func:`read_event`.
    """
    annotation = event.get("annotation")
    if event.get("action") not in SUBMITTED or not isinstance(annotation, dict) or annotation.get("was_cancelled"):
        return None
    project, task, number = (
        _number(event.get("project")),
        _number(event.get("task")) or _number(annotation.get("task")),
        _number(annotation),
    )
    if project is None or task is None or number is None:
        return None
    after = _shapes(annotation)
    prediction = annotation.get("prediction")
    began = isinstance(prediction, dict) and isinstance(prediction.get("result"), list)
    before = _shapes(prediction) if began else []
    of_model = [shape for shape in after if shape.item.get("origin") in ("prediction", "prediction-changed")]
    if of_model and not {_id(shape) for shape in of_model} & {_id(shape) for shape in before}:
        # what is sent is not the prediction that the annotator had
        before, began = [], False
    fates: dict[str, Fate] = {}
    for shape in after:
        origin = shape.item.get("origin")
        for name in _names(shape):
            fate = fates.setdefault(name, Fate())
            fate.kept += origin == "prediction"
            fate.changed += origin == "prediction-changed"
            fate.added += origin not in ("prediction", "prediction-changed")
    left = {_id(shape): set(_names(shape)) for shape in after}
    gone = [shape for shape in before if _id(shape) not in left]
    for shape in before:
        for name in _names(shape):
            # one that was given another label is gone for this one
            fates.setdefault(name, Fate()).removed += name not in left.get(_id(shape), ())
    kind = _kind(after, before, of_model, gone, derived=began or _is_number(annotation.get("parent_prediction")))
    pixels, off = _compare(before, after, fates) if began else (0, 0)
    version = prediction.get("model_version") if began and isinstance(prediction, dict) else None
    version = version[:LONGEST_NAME] if isinstance(version, str) and version else None
    kept = dict(sorted(fates.items(), key=lambda pair: -pair[1].pixels)[:MOST_CLASSES])
    return Outcome(project, task, number, version, kind, pixels, off, kept)


def _kind(
    after: Sequence[Shape], before: Sequence[Shape], of_model: Sequence[Shape], gone: Sequence[Shape], *, derived: bool
) -> Kind:
    if not derived and not of_model:
        return "drawn"
    if before and not of_model:
        return "rejected"
    as_predicted = all(shape.item.get("origin") == "prediction" for shape in after)
    return "accepted" if as_predicted and not gone else "changed"


def _compare(before: Sequence[Shape], after: Sequence[Shape], fates: Mapping[str, Fate]) -> tuple[int, int]:
    """Compare masks image by image and count pixels into the fates; return (pixels, those that differ)."""
    names = {name: k for k, name in enumerate(fates)}
    total = differ = 0
    for to_name in dict.fromkeys(shape.item.get("to_name") for shape in (*before, *after)):
        parts = [[shape for shape in part if shape.item.get("to_name") == to_name] for part in (before, after)]
        size = _size([*parts[1], *parts[0]])
        if size is None:
            continue
        old, new = (_label_map(part, names, size) for part in parts)
        judged = (old >= 0) | (new >= 0)
        wrong = judged & (old != new)
        total, differ = total + int(judged.sum()), differ + int(wrong.sum())
        # a class has the pixels that either gave it; off are those that both did not
        shared = np.bincount(new[judged & ~wrong], minlength=len(names))
        either = shared + sum(np.bincount(part[wrong & (part >= 0)], minlength=len(names)) for part in (old, new))
        for name, k in names.items():
            fates[name].pixels += int(either[k])
            fates[name].off += int(either[k] - shared[k])
    return total, differ


def _label_map(found: Sequence[Shape], names: Mapping[str, int], size: tuple[int, int]) -> NDArray[np.int16]:
    """Return the map that the editor shows, int16 (H, W): an index into ``names``, -1 where nothing is drawn."""
    own = [shape for shape in found if _names(shape)]
    decoded = decode(own, *size)
    regions = [Region(label=names[_names(shape)[0]], origin=_origin(shape)) for shape in own]
    order = stacking.drawing_order(regions, decoded.masks, [shape.geometry for shape in own])
    masks = decoded.masks.select(order)
    label_map: NDArray[np.int16] = masks.to_label_map([regions[k].label for k in order], fill=-1, dtype=np.int16)
    return label_map


def _origin(shape: Shape) -> Any:
    origin = shape.item.get("origin")
    return origin if origin in ("prediction", "prediction-changed", "manual") else None


def _size(found: Sequence[Shape]) -> tuple[int, int] | None:
    """Return the (height, width) that all regions of an image state; None where they do not, or it is too large."""
    stated = {tuple(_side(shape.item.get(f"original_{side}")) for side in ("height", "width")) for shape in found}
    if len(stated) != 1:
        return None
    height, width = stated.pop()
    return (height, width) if min(height, width) > 0 and height * width <= MOST_PIXELS else None


def _side(value: Any) -> int:
    return value if _is_number(value) else 0


def _shapes(drawn: Any) -> list[Shape]:
    """Return the regions of an annotation or prediction that have pixels; what cannot be read is no region."""
    try:
        return shapes([item for item in _items(drawn) if _is_result(item)], "webhook", ErrorPolicy("skip"))[0]
    except (DataError, TypeError, ValueError):
        return []


def _items(drawn: Any) -> list[dict[str, Any]]:
    result = drawn.get("result") if isinstance(drawn, dict) else None
    return [item for item in result if isinstance(item, dict)] if isinstance(result, list) else []


def _is_result(item: Mapping[str, Any]) -> bool:
    """Tell whether an item has the types that Label Studio gives results: one that has not takes no other down."""
    texts = (item.get("id"), item.get("type"), item.get("from_name", ""), item.get("to_name", ""))
    return all(isinstance(text, str) for text in texts) and isinstance(item.get("value"), dict)


def _names(shape: Shape) -> list[str]:
    return [name[:LONGEST_NAME] for name in shape.names if isinstance(name, str) and name]


def _id(shape: Shape) -> str:
    return str(shape.item.get("id"))


def _number(value: Any) -> int | None:
    found = value.get("id") if isinstance(value, dict) else value
    return found if _is_number(found) else None


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
