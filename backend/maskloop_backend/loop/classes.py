"""Which classes a model has after a training on a project: those that it had, and the labels that people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskloop_converters.errors import LabelError
from maskloop_converters.samples import Label, LabelSet

from ..studio import label_config
from ..studio.label_config import LabelConfig
from ..training.merging import Merging


def new_labels(
    names: Sequence[str],
    known: LabelSet | None,
    *,
    complete: bool,
    together: Mapping[str, Sequence[str]] | None = None,
) -> tuple[LabelSet, tuple[str, ...]]:
    """Return the labels that a model will be trained on, and what that changes of its classes.

    The model's classes keep their order, new ones follow. Pixels that nobody labelled are background only where the model
    has a background that annotators do not paint themselves; else they are ignored.

    Args:
        names: of the labels, as the model calls them where it knows them.
        known: the model's classes, None where there is no model.
        complete: the names are all there are (they come from a label config): classes that are not among them go.
        together: classes of the model that a label stands for, of labels that stand for several: they stay, see
            :func:`merged`.
    """
    together = together or {}
    drawn = {name for several in together.values() for name in several}
    own = [] if known is None else list(known.classes)
    background = None if known is None else next((k for k in own if k.id == known.background_id), None)
    painted = background is not None and background.name in names
    kept = [label for label in own if not complete or label.name in names or label is background]
    added = [name for name in names if name not in {label.name for label in own}]
    labels = [Label(k, label.name, label.color, label.thing) for k, label in enumerate(kept)]
    labels += [Label(len(kept) + k, name) for k, name in enumerate(added)]
    notes = []
    if own and (new := [name for name in added if name not in together]):
        notes.append(f"new classes: {', '.join(new)}; the head grows, the others keep what they learned")
    if gone := [label.name for label in own if label not in kept and label.name not in drawn]:
        notes.append(f"classes without a label in the project: {', '.join(gone)}; the new version will not have them")
    position = None if background is None or painted else kept.index(background)
    return LabelSet(tuple(labels), ignore_id=255, background_id=position), tuple(notes)


def merged(labels: LabelSet, known: LabelSet | None, together: Mapping[str, Sequence[str]]) -> Merging:
    """Return the classes of a model that tells apart what some labels draw as one, and which label each is drawn as.

    A class that has a label of its own, or that another label stands for already, is not drawn as a second one; a label that has
    no class left is one of its own.

    Args:
        labels: of the training, see :func:`new_labels`.
        known: the model's classes, None where there is no model.
        together: classes of the model by the label that stands for them, of labels that stand for several.
    """
    own = [] if known is None else list(known.classes)
    channels = {label.name: k for k, label in enumerate(labels.classes)}
    drawn_as: dict[str, int] = {}
    for name, several in together.items():
        free = [one for one in several if one not in drawn_as and (one not in channels or one == name)]
        drawn_as |= dict.fromkeys(free or [name], channels[name])
    drawn_as |= {name: k for name, k in channels.items() if name not in together}
    order = [label.name for label in own if label.name in drawn_as]
    order += [name for name in channels if name in drawn_as and name not in order]
    described = {label.name: label for label in (*own, *labels.classes)}
    classes = tuple(Label(k, name, described[name].color, described[name].thing) for k, name in enumerate(order))
    background = next((label.name for label in labels.classes if label.id == labels.background_id), None)
    position = None if background is None else order.index(background)
    model = LabelSet(classes, ignore_id=255, background_id=position)
    return Merging(model, labels, tuple(drawn_as[name] for name in order))


def as_the_model_says(names: Sequence[str], config: LabelConfig | None, known: LabelSet | None) -> dict[str, list[str]]:
    """Return what the model calls each label: the classes that it stands for.

    A label of a class's name stands for that. Others stand for what ``predicted_values``, alias or case say; one that stands
    for nothing is a class to come, called as the label.

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
            return {name: [name] for name in names}
        for control in mapping.controls:
            for channel, slot in enumerate(control.lut[: len(classes)].tolist()):
                if slot != label_config.UNMAPPED and control.names[slot] in stands_for:
                    stands_for[control.names[slot]].add(classes[channel])
    return {name: sorted(found, key=classes.index) if found else [name] for name, found in stands_for.items()}


def names_of(stands_for: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the name under which each label is learned; labels that stand for the same are one.

    It is that of the class that a label stands for, and the label's own where these are several.

    Args:
        stands_for: the classes of each label, see :func:`as_the_model_says`.
    """
    first: dict[tuple[str, ...], str] = {}
    return {
        name: first.setdefault(tuple(several), several[0] if len(several) == 1 else name)
        for name, several in stands_for.items()
    }
