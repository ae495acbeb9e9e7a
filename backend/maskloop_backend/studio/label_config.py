"""Label configs: which labels a project has, and which class of the model each of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import LabelError
from maskloop_converters.formats.labelstudio.config import tree
from maskloop_converters.samples import LabelSet

MaskTag = Literal["BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels"]
MASK_TAGS: tuple[MaskTag, ...] = get_args(MaskTag)
# A control's entry in Control.lut for classes that it does not show.
UNMAPPED = 255


@dataclass(frozen=True, slots=True)
class ConfigLabel:
    """One <Label> of a control.

    Attributes:
        value: what annotators see and what stands in results.
        predicted_values: names of model classes that it stands for, as its attribute lists them.
    """

    value: str
    predicted_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Control:
    """One control tag that holds masks.

    Attributes:
        tag: its kind.
        name: ``from_name`` of its results.
        to_name: name of the image it belongs to.
        labels: its labels, in order.
        score_threshold: regions whose score is below are not pre-filled (``model_score_threshold``), 0..1.
        skip: ``model_skip``: the model leaves this control alone.
    """

    tag: MaskTag
    name: str
    to_name: str
    labels: tuple[ConfigLabel, ...]
    score_threshold: float = 0.0
    skip: bool = False

    @property
    def result_type(self) -> str:
        """``type`` of its results and the key of their labels ('brushlabels')."""
        return self.tag.lower()


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """What maskloop reads from a label config.

    Attributes:
        controls: the mask controls of the image, in order; at least one.
        image_key: the key of ``task["data"]`` that holds the image's address.
    """

    controls: tuple[Control, ...]
    image_key: str


@dataclass(frozen=True, slots=True, eq=False)
class ControlMapping:
    """How one control shows a model's classes. Several classes may share a label: they become one mask.

    Attributes:
        control: the control.
        names: the labels that at least one class maps to; slot s is ``names[s]``.
        lut: uint8 (256,), class index -> slot, ``UNMAPPED`` where the control has no label for the class.
    """

    control: Control
    names: tuple[str, ...]
    lut: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class LabelMapping:
    """How a project's controls show a model's classes.

    Attributes:
        image_key: see :class:`LabelConfig`.
        controls: one mapping a control; each shows at least one class.
        missing: classes of the model that no control shows, the background left out.
        unused: labels of the config that no class of the model maps to.
    """

    image_key: str
    controls: tuple[ControlMapping, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def parse(xml: str) -> LabelConfig:
    """Return what a label config says about masks.

    Raises:
        LabelError: it is no XML, has no image or no mask control; the message is one line of ASCII, fit for an HTTP
            reason phrase, which is all that Label Studio shows.
    """
    try:
        root = tree(xml)
    except LabelError as error:
        raise LabelError(_ascii(str(error))) from error
    images = {tag.get("name", ""): tag.get("value", "") for tag in root.iter("Image")}
    controls = [_control(tag) for tag in root.iter() if tag.tag in MASK_TAGS]
    if not images:
        raise LabelError("Label config has no Image tag; maskloop segments images")
    controls = [control for control in controls if control.to_name in images]
    if not controls:
        raise LabelError(f"Label config has no {', '.join(MASK_TAGS[:-1])} or {MASK_TAGS[-1]} tag for its Image")
    first = controls[0].to_name
    value = images[first]
    if not value.startswith("$") or len(value) < 2:
        raise LabelError(
            f"Label config's Image {_ascii(first)} has value {_ascii(value)!r}; expected $KEY, a key of the task data"
        )
    return LabelConfig(tuple(control for control in controls if control.to_name == first), value[1:])


def match(config: LabelConfig, labels: LabelSet) -> LabelMapping:
    """Return which label of each control stands for which class of a model.

    A class belongs to the label that lists it in ``predicted_values``, else to the one of the same name, else to the one
    whose ``predicted_values`` or name differ in case only.

    Args:
        config: of the project.
        labels: of the model; class index k is ``labels.classes[k]``.

    Raises:
        LabelError: a class fits several labels equally well, or no class fits any label.
    """
    names = [label.name for label in labels.classes]
    mappings = [_match_control(control, names) for control in config.controls if not control.skip]
    shown = [mapping for mapping in mappings if mapping.names]
    if not shown:
        offered = [label.value for control in config.controls for label in control.labels]
        raise LabelError(
            f"None of the model's classes ({_listed(names)}) is a label of the project ({_listed(offered)}); "
            "rename labels or add predicted_values"
        )
    found = np.any([mapping.lut != UNMAPPED for mapping in shown], axis=0)
    missing = [
        label.name for k, label in enumerate(labels.classes) if not found[k] and label.id != labels.background_id
    ]
    used = {(mapping.control.name, name) for mapping in shown for name in mapping.names}
    unused = [
        label.value
        for control in config.controls
        for label in control.labels
        if (control.name, label.value) not in used and not control.skip
    ]
    return LabelMapping(config.image_key, tuple(shown), tuple(missing), tuple(dict.fromkeys(unused)))


def _control(tag: ElementTree.Element) -> Control:
    labels = tuple(
        ConfigLabel(
            child.get("value", ""),
            tuple(name.strip() for name in child.get("predicted_values", "").split(",") if name.strip()),
        )
        for child in tag.iter("Label")
    )
    threshold = tag.get("model_score_threshold") or tag.get("score_threshold") or "0"
    try:
        score_threshold = float(threshold)
    except ValueError:
        score_threshold = -1.0
    if not 0 <= score_threshold <= 1:
        raise LabelError(f"Label config: model_score_threshold is {_ascii(threshold)!r}; expected a number from 0 to 1")
    return Control(
        tag=tag.tag,  # type: ignore[arg-type]
        name=tag.get("name", ""),
        to_name=tag.get("toName", ""),
        labels=labels,
        score_threshold=score_threshold,
        skip=tag.get("model_skip", "false").lower() in {"true", "1", "yes"},
    )


def _match_control(control: Control, names: list[str]) -> ControlMapping:
    # From the most explicit reading to the most lenient; the first that has an answer for a class decides.
    readings: list[Mapping[str, list[str]]] = [
        _index(control, lambda label: label.predicted_values),
        _index(control, lambda label: (label.value,)),
        _index(control, lambda label: tuple(x.casefold() for x in (*label.predicted_values, label.value))),
    ]
    lut = np.full(256, UNMAPPED, np.uint8)
    slots: dict[str, int] = {}
    for k, name in enumerate(names):
        for reading, key in zip(readings, (name, name, name.casefold()), strict=True):
            found = reading.get(key, [])
            if len(found) > 1:
                raise LabelError(
                    f"Class {_ascii(name)} of the model fits several labels of {_ascii(control.name)}: {_listed(found)}; "
                    "make predicted_values unambiguous"
                )
            if found:
                lut[k] = slots.setdefault(found[0], len(slots))
                break
    return ControlMapping(control, tuple(slots), lut)


def _index(control: Control, keys: Callable[[ConfigLabel], tuple[str, ...]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for label in control.labels:
        for key in dict.fromkeys(keys(label)):
            index.setdefault(key, []).append(label.value)
    return index


def _listed(names: list[str]) -> str:
    shown = ", ".join(_ascii(name) for name in names[:12])
    return shown + (f", ... {len(names)} in all" if len(names) > 12 else "")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")[:200]
