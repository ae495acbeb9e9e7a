"""Label configs: the XML that says which labels a Label Studio project has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from PIL import ImageColor

from ...errors import FormatError, LabelError
from ...samples import Color, Label, LabelSet
from ..labels import color_table, label_names

# Controls that draw. Brush, Polygon and the like have no labels: those of a Labels control of the same image are theirs.
_LABEL_TAGS = frozenset(
    {"BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels", "Labels", "EllipseLabels", "VectorLabels"}
)
_BARE_TAGS = frozenset({"Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse", "Vector", "MagicWand"})

_VARIABLE = re.compile(r"\$[\w[\].]+")
_STEP = re.compile(r"[^.[\]]+")
# Pages that a <Repeater> is written out for.
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class ImageTag:
    """One <Image> of a label config.

    Attributes:
        name: ``to_name`` of the results on it.
        value: where its address stands in the task's data: '$image', '$my.image', '$pages[0].url', or a text with such
            parts in it.
        is_list: the data holds a list of addresses, one a page (``valueList``).
    """

    name: str
    value: str
    is_list: bool = False

    @property
    def key(self) -> str:
        """The key of the task's data, what errors call it: 'image', 'my.image'."""
        return self.value.removeprefix("$")

    @property
    def is_plain(self) -> bool:
        """Whether the address is the value of one key."""
        return not self.is_list and re.fullmatch(r"\$\w+", self.value) is not None

    def address(self, data: Any) -> str | None:
        """Return the address of the one image in a task's data, None where there is none; of several pages the first."""
        found = self.addresses(data) if isinstance(data, Mapping) else []
        return found[0][1] if found and isinstance(found[0][1], str) and found[0][1] else None

    def alone(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return a task that has nothing but this image, its address under :attr:`key`; no address where it has none."""
        address = self.address(task.get("data"))
        return {"id": task.get("id"), "data": {} if address is None else {self.key: address}}

    def addresses(self, data: Mapping[str, Any]) -> list[tuple[int | None, Any]]:
        """Return page and address of the images in a task's data as the editor finds them; no page where there is one.

        What stands where an address should be comes as it is, for the reader to name.
        """
        if self.is_list:
            pages = look_up(data, self.key)
            return list(enumerate(pages)) if isinstance(pages, list) else []
        if _VARIABLE.fullmatch(self.value):
            found = look_up(data, self.key)
            return [] if found is None else [(None, found)]
        parts = [look_up(data, part[1:]) for part in _VARIABLE.findall(self.value)]
        if not parts or not all(isinstance(part, str | int) and part != "" for part in parts):
            return []
        texts = iter(str(part) for part in parts)
        return [(None, _VARIABLE.sub(lambda _: next(texts), self.value))]


@dataclass(frozen=True, slots=True)
class StudioConfig:
    """What a label config says.

    Attributes:
        labels: of all controls that draw on images, in order, called as results have them (the alias, where there is
            one); ids are the ``category`` attributes where every label has one, else 0, 1, 2, ...
        controls: name -> name of the object that it labels, every control.
        image_tags: the Image objects, in order.
        drawn_on: names of those that a control draws on.
        aliases: value of a label -> what the editor writes into results in place of it, where it has an alias.
    """

    labels: LabelSet
    controls: Mapping[str, str]
    image_tags: tuple[ImageTag, ...]
    drawn_on: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, str]:
        """Name of an Image object -> where in the task's data its address stands."""
        return {image.name: image.key for image in self.image_tags}


def look_up(data: Any, path: str) -> Any:
    """Return what stands at a place of a task's data, None where nothing does: 'my.image', 'pages[0].url'."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    for step in _STEP.findall(path):
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


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
        tags = list(_repeated(tree(xml)))
    except LabelError as error:
        raise FormatError(f"{where}: {error}") from error
    images = tuple(image for tag in tags if tag.tag == "Image" and (image := _image(tag)) is not None)
    controls = {tag.get("name", ""): tag.get("toName", "") for tag in tags if tag.get("toName")}
    found: dict[str, tuple[str | None, Color | None]] = {}
    aliases: dict[str, str] = {}
    drawing = [tag for tag in tags if tag.tag in _LABEL_TAGS]
    for control in drawing:
        for tag in control.iter("Label"):
            value, alias = tag.get("value") or "", tag.get("alias") or ""
            name = alias or value
            if alias and value:
                aliases[value] = alias
            if name and name not in found:
                found[name] = tag.get("category"), _color(tag.get("background"))
    if not images or not found:
        missing = "Image with value='$...'" if not images else f"Label in one of {', '.join(sorted(_LABEL_TAGS))}"
        raise FormatError(f"{where}: the label config has no {missing}")
    categories = [category for category, _ in found.values()]
    numbered = all(category is not None and category.isdecimal() for category in categories)
    ids = [int(category or 0) for category in categories] if numbered else list(range(len(found)))
    try:
        labels = LabelSet(tuple(Label(i, name, found[name][1]) for i, name in zip(ids, found, strict=True)))
    except LabelError as error:
        raise FormatError(f"{where}: {error}") from error
    bare = [tag for tag in tags if tag.tag in _BARE_TAGS]
    return StudioConfig(
        labels,
        controls,
        images,
        frozenset(tag.get("toName", "") for tag in (*drawing, *bare)) & {image.name for image in images},
        {value: alias for value, alias in aliases.items() if value not in found},
    )


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


def _repeated(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yield all tags, those within a <Repeater> once a page, '{{idx}}' replaced by the page's number."""
    yield root
    for child in root:
        if child.tag != "Repeater":
            yield from _repeated(child)
            continue
        flag = child.get("indexFlag") or "{{idx}}"
        for page in range(_MOST_PAGES):
            for inner in child:
                copy = deepcopy(inner)
                for tag in copy.iter():
                    tag.attrib.update({key: value.replace(flag, str(page)) for key, value in tag.attrib.items()})
                yield from _repeated(copy)


def _image(tag: ElementTree.Element) -> ImageTag | None:
    name = tag.get("name", "")
    for key in ("value", "valueList"):
        value = tag.get(key, "")
        if "$" in value:
            return ImageTag(name, value, is_list=key == "valueList")
    return None


def _color(text: str | None) -> Color | None:
    """Return the colour of a CSS notation, None where it is none that is known."""
    try:
        return ImageColor.getrgb(text)[:3] if text else None
    except ValueError:
        return None
