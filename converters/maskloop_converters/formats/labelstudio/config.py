"""Label configs: the XML that says which labels a Label Studio project has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from PIL import ImageColor

from ...errors import FormatError, LabelError
from ...samples import Color, Label, LabelSet
from ..labels import color_table, label_names

_MASK_TAGS = frozenset(
    {"BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels", "Labels", "EllipseLabels", "VectorLabels"}
)


@dataclass(frozen=True, slots=True)
class StudioConfig:
    """What a label config says.

    Attributes:
        labels: of all controls that draw, in order; ids are the ``category`` attributes where every label has one, else
            0, 1, 2, ...
        controls: name -> name of the object that it labels, every control.
        images: name of an Image object -> the key of the task's data that holds its address.
    """

    labels: LabelSet
    controls: Mapping[str, str]
    images: Mapping[str, str]


def tree(xml: str) -> ElementTree.Element:
    """Return the root of a label config; LabelError if it is no XML or declares entities, which could grow without end."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise LabelError("the label config has a DOCTYPE or ENTITY declaration, which is not accepted; remove it")
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelError(f"the label config is not well-formed XML: {error}") from error


def parse(xml: str, where: str) -> StudioConfig:
    """Return what a label config says; FormatError if it is no XML, has no Image, or no control that draws."""
    try:
        root = tree(xml)
    except LabelError as error:
        raise FormatError(f"{where}: {error}") from error
    images = {
        tag.get("name", ""): tag.get("value", "").removeprefix("$")
        for tag in root.iter("Image")
        if tag.get("value", "").startswith("$")
    }
    controls = {tag.get("name", ""): tag.get("toName", "") for tag in root.iter() if tag.get("toName")}
    found: dict[str, tuple[str | None, Color | None]] = {}
    for control in root.iter():
        if control.tag in _MASK_TAGS:
            for tag in control.iter("Label"):
                name = tag.get("alias") or tag.get("value") or ""
                if name and name not in found:
                    found[name] = tag.get("category"), _color(tag.get("background"))
    if not images or not found:
        missing = "Image with value='$...'" if not images else f"Label in one of {', '.join(sorted(_MASK_TAGS))}"
        raise FormatError(f"{where}: the label config has no {missing}")
    categories = [category for category, _ in found.values()]
    numbered = all(category is not None and category.isdecimal() for category in categories)
    ids = [int(category or 0) for category in categories] if numbered else list(range(len(found)))
    try:
        labels = LabelSet(tuple(Label(i, name, found[name][1]) for i, name in zip(ids, found, strict=True)))
    except LabelError as error:
        raise FormatError(f"{where}: {error}") from error
    return StudioConfig(labels, controls, images)


def render(labels: LabelSet, controls: Iterable[tuple[str, str, str]], images: Mapping[str, str]) -> str:
    """Return the label config of masks.

    Args:
        labels: every control gets all of them, coloured, their ids as ``category`` (which Label Studio's own COCO
            export honours).
        controls: tag ('BrushLabels', 'BitmaskLabels'), name, and name of the image, of every control.
        images: name of an Image object -> key of the task's data.
    """
    colors = color_table(labels)
    names = label_names(labels)
    view = ElementTree.Element("View")
    for name, key in images.items():
        ElementTree.SubElement(view, "Image", name=name, value=f"${key}", zoom="true", zoomControl="true")
    for tag, name, image in controls:
        control = ElementTree.SubElement(view, tag, name=name, toName=image)
        for label_id, label in names.items():
            background = "#{:02x}{:02x}{:02x}".format(*colors[label_id])
            ElementTree.SubElement(control, "Label", value=label, background=background, category=str(label_id))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _color(text: str | None) -> Color | None:
    """Return the colour of a CSS notation, None where it is none that is known."""
    try:
        return ImageColor.getrgb(text)[:3] if text else None
    except ValueError:
        return None
