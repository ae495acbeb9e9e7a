"""Which classes a model has after a training on a project: those that it had, and the labels that people use."""

from __future__ import annotations

from collections.abc import Sequence

from maskloop_converters.errors import LabelError
from maskloop_converters.samples import Label, LabelSet

from ..studio import label_config
from ..studio.label_config import LabelConfig


def new_labels(names: Sequence[str], known: LabelSet | None, *, complete: bool) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the classes that a model will have after training on labels, and what changes.

    The model's classes keep their order, new ones follow. Pixels that nobody labelled are background only where the model
    has a background that annotators do not paint themselves; else they are ignored.

    Args:
        names: of the labels, as the model calls them where it knows them.
        known: the model's classes, None where there is no model.
        complete: the names are all there are (they come from a label config): classes that are not among them go.
    """
    own = [] if known is None else list(known.classes)
    background = None if known is None else next((k for k in own if k.id == known.background_id), None)
    painted = background is not None and background.name in names
    kept = [label for label in own if not complete or label.name in names or label is background]
    added = [name for name in names if name not in {label.name for label in own}]
    labels = [Label(k, label.name, label.color, label.thing) for k, label in enumerate(kept)]
    labels += [Label(len(kept) + k, name) for k, name in enumerate(added)]
    notes = []
    if own and added:
        notes.append(f"new classes: {', '.join(added)}; the head grows, the others keep what they learned")
    if gone := [label.name for label in own if label not in kept]:
        notes.append(f"classes without a label in the project: {', '.join(gone)}; the new version will not have them")
    position = None if background is None or painted else kept.index(background)
    return LabelSet(tuple(labels), ignore_id=255, background_id=position), tuple(notes)


def as_the_model_says(names: Sequence[str], config: LabelConfig | None, known: LabelSet | None) -> dict[str, str]:
    """Return what the model calls each label.

    A label of a class's name keeps it. One that stands for exactly one class, by ``predicted_values``, alias or case, is
    called as that class. Where a label stands for several classes, the project draws them as one: a class of its own, called
    as the label.

    Args:
        names: of the labels, as results have them.
        config: of the project, None where it is not known.
        known: the model's classes, None where there is no model.
    """
    classes = [] if known is None else [label.name for label in known.classes]
    stands_for: dict[str, set[str]] = {name: {name} if name in classes else set() for name in names}
    if config is not None and known is not None:
        try:
            mapping = label_config.match(config, known)
        except LabelError:
            # no class fits any label: all of them are new
            return {name: name for name in names}
        for control in mapping.controls:
            for channel, slot in enumerate(control.lut[: len(classes)].tolist()):
                if slot != label_config.UNMAPPED and control.names[slot] in stands_for:
                    stands_for[control.names[slot]].add(classes[channel])
    return {name: next(iter(found)) if len(found) == 1 else name for name, found in stands_for.items()}
