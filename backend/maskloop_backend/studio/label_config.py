"""Label configs: which labels a project has, and which class of the model each of them is.

The table of what is pre-filled, learned and converted for which config stands in docs/label-configs.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import LabelError
from maskloop_converters.formats.labelstudio.config import ImageTag, tree
from maskloop_converters.samples import LabelSet

Kind = Literal["brush", "bitmask", "polygon", "rectangle"]
# Where several controls have a label, the first of these is pre-filled: what is most exact and keeps holes.
KINDS: tuple[Kind, ...] = ("brush", "bitmask", "polygon", "rectangle")
_LABELLING: dict[str, Kind] = {f"{kind.capitalize()}Labels": kind for kind in KINDS}
# Tags without labels of their own; those of a <Labels> of the same image count.
_BARE: dict[str, Kind] = {kind.capitalize(): kind for kind in KINDS}
# A config has dozens of tags, at most a few thousand labels; every mask control answers with regions of its own.
MAX_CHARACTERS = 1 << 20
_MOST: tuple[tuple[str, frozenset[str], int], ...] = (
    ("mask controls", frozenset(_LABELLING) | frozenset(_BARE), 1000),
    ("Image tags", frozenset({"Image"}), 1000),
    ("Label tags", frozenset({"Label"}), 10_000),
)
# A control's entry in Control.lut for classes that it does not show.
UNMAPPED = 255


@dataclass(frozen=True, slots=True)
class ConfigLabel:
    """One <Label> of a control.

    Attributes:
        value: what annotators see.
        predicted_values: names of model classes that it stands for, as its attribute lists them.
        alias: what the editor writes into results in place of the value; None: the value.
    """

    value: str
    predicted_values: tuple[str, ...] = ()
    alias: str | None = None

    @property
    def written(self) -> str:
        """What stands in results."""
        return self.alias or self.value


@dataclass(frozen=True, slots=True)
class Control:
    """One control that holds masks.

    Attributes:
        tag: its tag ('BrushLabels', 'Brush').
        kind: what its regions are.
        name: ``from_name`` of its regions.
        to_name: name of the image it belongs to.
        labels: its labels, in order.
        labels_name: name of the <Labels> that it takes them from, None where they are its own.
        score_threshold: regions whose score is below are not pre-filled (``model_score_threshold``), 0..1.
        skip: ``model_skip``: the model leaves this control alone, in serving and in training.
    """

    tag: str
    kind: Kind
    name: str
    to_name: str
    labels: tuple[ConfigLabel, ...]
    labels_name: str | None = None
    score_threshold: float = 0.0
    skip: bool = False

    @property
    def result_type(self) -> str:
        """``type`` of its regions: 'brushlabels' (the key of their labels too), 'brush' where a <Labels> has them."""
        return self.kind if self.labels_name is not None else f"{self.kind}labels"

    @property
    def key(self) -> tuple[str, str | None]:
        """Which control of its config it is."""
        return self.name, self.labels_name

    @property
    def described(self) -> str:
        """What people know it by."""
        own = f"{self.tag} {_ascii(self.name)}"
        return own if self.labels_name is None else f"{own} with Labels {_ascii(self.labels_name)}"


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """What maskloop reads from a label config.

    Attributes:
        controls: the mask controls of its images, in order; at least one that is not skipped.
        images: those that a mask control belongs to, in order.
        notes: what of the config is left alone, and why.
        skipped: names of all controls with ``model_skip``, of whatever tag (``from_name`` of results).
    """

    controls: tuple[Control, ...]
    images: tuple[ImageTag, ...]
    notes: tuple[str, ...] = ()
    skipped: frozenset[str] = frozenset()

    @property
    def left_alone(self) -> frozenset[str]:
        """The labels, as written, that no control has but those with ``model_skip``."""
        learned = {label.written for control in self.controls if not control.skip for label in control.labels}
        skipped = {label.written for control in self.controls if control.skip for label in control.labels}
        return frozenset(skipped - learned)

    def as_written(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return a result whose labels are called as the editor writes them now.

        An alias may have been added after regions were drawn, and predictions from elsewhere name the value: the editor
        shows both alike, and so they are one label.
        """
        known = self._aliases(item.get("from_name"))
        return relabelled(item, lambda name: known.get(name, name)) if known else dict(item)

    def _aliases(self, from_name: Any) -> dict[str, str]:
        labels = [x for control in self.controls if from_name in control.key for x in control.labels]
        aliases = {label.value: label.alias for label in labels if label.alias is not None}
        return {value: alias for value, alias in aliases.items() if value not in {label.written for label in labels}}

    @property
    def mark(self) -> str:
        """Four characters that differ, but for chance, where predictions would come out otherwise.

        Every region of a prediction begins its id with them: so it is known which predictions were made for another label
        config. Colours, hotkeys and choices do not count.
        """
        said = repr([(control.tag, *_facts(control)) for control in self.controls] + [list(map(repr, self.images))])
        return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=2).hexdigest()

    def image(self, name: str | None) -> ImageTag | None:
        """Return the image of a name, the only one for None; None where it is not among :attr:`images`."""
        if name is None:
            return self.images[0] if len(self.images) == 1 else None
        return next((image for image in self.images if image.name == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class ControlMapping:
    """How one control shows a model's classes. Several classes may share a label: they become one mask.

    Attributes:
        control: the control.
        names: the labels that at least one class maps to, as results have them; slot s is ``names[s]``.
        lut: uint8 (256,), class index -> slot, ``UNMAPPED`` where the control has no label for the class.
        filled: the same for what is pre-filled: ``UNMAPPED`` too where another control of the image shows the class.
    """

    control: Control
    names: tuple[str, ...]
    lut: NDArray[np.uint8]
    filled: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class LabelMapping:
    """How a project's controls show a model's classes.

    Attributes:
        images: of the project, in order; each task is one prediction for all of them.
        controls: one mapping a control; each has a label for at least one class.
        missing: classes of the model that no control shows, the background left out.
        unused: labels of the config that no class of the model maps to.
        mark: see :attr:`LabelConfig.mark`.
        notes: what is not pre-filled although it has labels of the model, and what of the config is left alone.
    """

    images: tuple[ImageTag, ...]
    controls: tuple[ControlMapping, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mark: str = ""
    notes: tuple[str, ...] = field(default=())


def parse(xml: str) -> LabelConfig:
    """Return what a label config says about masks.

    Raises:
        LabelError: it is no XML, too large, has no image, no mask control, or images of a kind that cannot be predicted; the
            message is one line of ASCII, fit for an HTTP reason phrase, which is all that Label Studio shows.
    """
    if len(xml) > MAX_CHARACTERS:
        raise LabelError(f"Label config has {len(xml)} characters, expected at most {MAX_CHARACTERS}")
    try:
        root = tree(xml)
    except LabelError as error:
        raise LabelError(_ascii(str(error))) from error
    for what, names, most in _MOST:
        if (count := sum(tag.tag in names for tag in root.iter())) > most:
            raise LabelError(f"Label config has {count} {what}, expected at most {most}")
    tags = {tag.get("name", ""): tag for tag in root.iter("Image")}
    if not tags:
        raise LabelError("Label config has no Image tag; maskloop segments images")
    repeated = {
        name for repeater in root.iter("Repeater") for name in (t.get("name", "") for t in repeater.iter("Image"))
    }
    images: dict[str, ImageTag] = {}
    refused: dict[str, str] = {}
    for name, tag in tags.items():
        reason = _refusal(name, tag, name in repeated)
        if reason is None:
            images[name] = ImageTag(name, tag.get("value", ""))
        else:
            refused[name] = reason
    found = list(_controls(root))
    controls = tuple(control for control in found if control.to_name in images and control.labels)
    if reasons := [refused[name] for name in dict.fromkeys(c.to_name for c in found) if name in refused]:
        # the tasks of such a project would be half learned, and nobody would see which half
        raise LabelError(f"Label config: {reasons[0]}")
    if not controls:
        if dynamic := [
            tag.tag for tag in root.iter() if (tag.get("value") or "").startswith("$") and tag.get("toName")
        ]:
            raise LabelError(
                f"Label config: the labels of {dynamic[0]} come from the task's data, so that no class can be matched; write "
                "them out as Label tags"
            )
        if bare := [control.described for control in found if control.to_name in images]:
            raise LabelError(f"Label config: {bare[0]} has no Label, and its Image has no Labels tag to take them from")
        raise LabelError(
            "Label config has no BrushLabels, BitmaskLabels, PolygonLabels or RectangleLabels tag for its Image, and no "
            "Brush, Bitmask, Polygon or Rectangle beside Labels"
        )
    if all(control.skip for control in controls):
        raise LabelError(f"Label config: model_skip stands at every mask control ({controls[0].described}); remove one")
    own = {control.to_name for control in controls if not control.skip}
    notes = [f"Image {_ascii(name)} has no mask control and is left alone" for name in images if name not in own]
    notes += [f"{control.described} is left alone: model_skip" for control in controls if control.skip]
    notes += [f"{control.described} has no labels and is left alone" for control in found if not control.labels]
    skipped = {tag.get("name", "") for tag in root.iter() if tag.get("toName") and _true(tag.get("model_skip"))}
    shown = tuple(image for image in images.values() if image.name in own)
    return LabelConfig(controls, shown, tuple(notes), frozenset(skipped))


def match(config: LabelConfig, labels: LabelSet) -> LabelMapping:
    """Return which label of each control stands for which class of a model.

    A class belongs to the label that lists it in ``predicted_values``, else to the one of the same name or alias, else to
    the one where these differ in case only. Where several controls of an image have a label for a class, one of them is
    pre-filled with it: the first of :data:`KINDS`, then of the config.

    Args:
        config: of the project.
        labels: of the model; class index k is ``labels.classes[k]``.

    Raises:
        LabelError: a class fits several labels equally well, or no class fits any label.
    """
    names = [label.name for label in labels.classes]
    active = [control for control in config.controls if not control.skip]
    found = [(control, *_match_control(control, names)) for control in active]
    found = [one for one in found if one[1]]
    if not found:
        offered = [label.value for control in active for label in control.labels]
        raise LabelError(
            f"None of the model's classes ({_listed(names)}) is a label of the project ({_listed(offered)}); "
            "rename labels or add predicted_values"
        )
    filled = {control.key: lut.copy() for control, _, lut in found}
    notes: list[str] = []
    for image in config.images:
        own = sorted((one for one in found if one[0].to_name == image.name), key=lambda one: KINDS.index(one[0].kind))
        shown: dict[int, Control] = {}
        for control, _, lut in own:
            mine = filled[control.key]
            others = [k for k in np.flatnonzero(lut != UNMAPPED).tolist() if k in shown]
            mine[others] = UNMAPPED
            shown |= dict.fromkeys(np.flatnonzero(mine != UNMAPPED).tolist(), control)
            if others:
                whose = ", ".join(dict.fromkeys(shown[k].described for k in others))
                what = "" if (mine == UNMAPPED).all() else f" with {_listed([names[k] for k in others])}"
                notes.append(f"{control.described} is not pre-filled{what}: {whose} has the same labels and is")
    mappings = tuple(ControlMapping(control, slots, lut, filled[control.key]) for control, slots, lut in found)
    seen = np.any([mapping.lut != UNMAPPED for mapping in mappings], axis=0)
    missing = [label.name for k, label in enumerate(labels.classes) if not seen[k] and label.id != labels.background_id]
    used = {(control.name, name) for control, slots, _ in found for name in slots}
    unused = [
        label.value for control in active for label in control.labels if (control.name, label.written) not in used
    ]
    return LabelMapping(
        images=config.images,
        controls=mappings,
        missing=tuple(missing),
        unused=tuple(dict.fromkeys(unused)),
        mark=config.mark,
        notes=(*notes, *config.notes),
    )


def relabelled(item: Mapping[str, Any], called: Callable[[str], str]) -> dict[str, Any]:
    """Return a result whose labels have other names."""
    value = item.get("value")
    if not isinstance(value, dict):
        return dict(item)
    named = {
        key: list(dict.fromkeys(called(name) if isinstance(name, str) else name for name in names))
        for key, names in value.items()
        if key.endswith("labels") and isinstance(names, list)
    }
    return {**item, "value": {**value, **named}}


def _controls(root: ElementTree.Element) -> Iterator[Control]:
    """Yield the mask controls, those without labels of their own once for each <Labels> of the same image."""
    shared = [(tag, _labels(tag)) for tag in root.iter("Labels")]
    for tag in root.iter():
        if tag.tag in _LABELLING:
            yield _control(tag, _LABELLING[tag.tag], _labels(tag), None)
        elif tag.tag in _BARE:
            beside = [one for one in shared if one[0].get("toName") == tag.get("toName") and one[1]]
            for labels_tag, labels in beside:
                yield _control(tag, _BARE[tag.tag], labels, labels_tag)
            if not beside:
                yield _control(tag, _BARE[tag.tag], (), None)


def _control(
    tag: ElementTree.Element, kind: Kind, labels: tuple[ConfigLabel, ...], beside: ElementTree.Element | None
) -> Control:
    threshold = tag.get("model_score_threshold") or tag.get("score_threshold") or "0"
    try:
        score_threshold = float(threshold)
    except ValueError:
        score_threshold = -1.0
    if not 0 <= score_threshold <= 1:
        raise LabelError(f"Label config: model_score_threshold is {_ascii(threshold)!r}; expected a number from 0 to 1")
    return Control(
        tag=tag.tag,
        kind=kind,
        name=tag.get("name", ""),
        to_name=tag.get("toName", ""),
        labels=labels,
        labels_name=None if beside is None else beside.get("name", ""),
        score_threshold=score_threshold,
        skip=_true(tag.get("model_skip")) or (beside is not None and _true(beside.get("model_skip"))),
    )


def _labels(tag: ElementTree.Element) -> tuple[ConfigLabel, ...]:
    return tuple(
        ConfigLabel(
            child.get("value", ""),
            tuple(name.strip() for name in child.get("predicted_values", "").split(",") if name.strip()),
            child.get("alias") or None,
        )
        for child in tag.iter("Label")
    )


def _refusal(name: str, tag: ElementTree.Element, repeated: bool) -> str | None:
    """Return why an image cannot be predicted, None where it can."""
    called = f"Image {_ascii(name)}"
    value = tag.get("value", "")
    if repeated:
        return f"{called} stands in a Repeater, which is not supported; write one Image and one control for each page"
    if tag.get("valueList") or tag.get("valuelist"):
        return f"{called} has a valueList, which is not supported; give each page a task of its own, with value"
    if "$" not in value or value == "$":
        return f"{called} has value {_ascii(value)!r}; expected $KEY, a key of the task data"
    return None


def _match_control(control: Control, names: list[str]) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return the labels that classes map to, and class index -> slot."""
    # From the most explicit reading to the most lenient; the first that has an answer for a class decides.
    readings: list[Mapping[str, list[str]]] = [
        _index(control, lambda label: label.predicted_values),
        _index(control, _own_names),
        _index(control, lambda label: tuple(x.casefold() for x in (*label.predicted_values, *_own_names(label)))),
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
    return tuple(slots), lut


def _own_names(label: ConfigLabel) -> tuple[str, ...]:
    return (label.value,) if label.alias is None else (label.alias, label.value)


def _index(control: Control, keys: Callable[[ConfigLabel], tuple[str, ...]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for label in control.labels:
        for key in dict.fromkeys(keys(label)):
            index.setdefault(key, []).append(label.written)
    return index


def _facts(control: Control) -> tuple[Any, ...]:
    """Return what of a control decides what predictions look like."""
    labels = [(label.written, label.value, label.predicted_values) for label in control.labels]
    return control.name, control.to_name, control.labels_name, labels, control.score_threshold, control.skip


def _true(text: str | None) -> bool:
    return (text or "").lower() in {"true", "1", "yes"}


def _listed(names: list[str]) -> str:
    shown = ", ".join(_ascii(name) for name in names[:12])
    return shown + (f", ... {len(names)} in all" if len(names) > 12 else "")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\n", " ")[:200]
