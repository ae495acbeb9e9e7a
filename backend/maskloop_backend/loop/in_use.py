"""Which classes the projects use that a version is served to, and which of them another version would lose."""

from __future__ import annotations

from collections.abc import Collection

from maskloop_converters.samples import LabelSet

from ..registry.store import Registry
from .label_configs import LabelConfigs, used


def audience(registry: Registry, project: int | None) -> dict[int, str]:
    """Return the label configs, by id, of the projects that a promoted version would be served to.

    Args:
        registry: knows who is served what.
        project: the only one; None: all that have no version of their own and of which a label config is known.
    """
    known = LabelConfigs(registry.home).known()
    if project is not None:
        return {project: known[project]} if project in known else {}
    served = registry.served()
    return {number: xml for number, xml in known.items() if served.own(number) is None}


def lost(
    registry: Registry, project: int | None, labels: LabelSet, learned: Collection[str] | None = None
) -> list[str]:
    """Return what a version would take from the projects that it is promoted for, one line a project; [] where nothing.

    A class is in use where a label of the project shows what the version that is served now predicts of it. It may be gone
    from the other version, or still be there though nothing says that it is any good: no label to learn or measure it by.

    Args:
        registry: knows who is served what.
        project: that it is promoted for; None: all without a version of their own.
        labels: of the version.
        learned: the classes that its training had labels of; None: those that it had none of are no concern.
    """
    served = registry.serving(project)
    if served is None:
        return []
    now, names = registry.record(served).labels, {label.name for label in labels.classes}
    lines = []
    for number, xml in sorted(audience(registry, project).items()):
        shown = used(xml, now)
        # a label may have become a class of its own in place of those that it stood for
        gone = [name for name, by in shown.items() if name not in names and not by & names]
        blind = [name for name in shown if name in names and learned is not None and name not in learned]
        if gone:
            lines.append(f"project {number} uses {', '.join(gone)}, which the new version does not have")
        if blind:
            lines.append(
                f"project {number} uses {', '.join(blind)}, of which the training had no label, so that nobody can tell "
                "what became of it"
            )
    return lines
