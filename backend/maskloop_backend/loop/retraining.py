"""From labels to a better version: collect, train, judge, and only then promote.

Whatever goes wrong on the way, the serving version stays as it was: it changes in the last line of all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from maskloop_converters import datasets
from maskloop_converters.errors import MaskloopError
from maskloop_converters.report import OnError
from maskloop_converters.samples import LabelSet, Sample

from ..evaluation.gate import Decision
from ..evaluation.measurement import MeasurementError, channel_map
from ..locks import held
from ..model.bundle import Bundle
from ..registry.store import Registry
from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from ..training.batches import Emphasis
from ..training.dataset import Examples
from ..training.outcome import TrainingResult
from ..training.settings import TrainingSettings
from ..training.trainer import train
from .changes import Change, channels, summary
from .collected import Collected, CorrectionsError, Role, as_dataset, as_drawn
from .collecting import Counting
from .corrections import from_dataset, from_export, from_project
from .efforts import Effort, inherited, settings_of
from .holdout import SHARE, Holdout, project_directory
from .judging import Judging, predictor_of
from .label_configs import LabelConfigs
from .progress import RetrainProgress, SilentRetraining, Together
from .still_there import StillThere

Promote = Literal["if-better", "always", "never"]

# Predictions that were submitted unchanged are drawn so often for every image that somebody drew: their mistakes are
# those that annotators overlooked, and the model knows them already.
ACCEPTED_WEIGHT = 0.25


class RetrainingBusyError(MaskloopError):
    """Another process is retraining on the same project."""


@dataclass(frozen=True, slots=True)
class StudioProject:
    """A Label Studio project as the source of a retraining.

    Attributes:
        client: of the Label Studio.
        fetcher: of its images.
        project: its id or title.
    """

    client: StudioClient
    fetcher: ImageFetcher
    project: str | int


@dataclass(frozen=True, slots=True)
class Plan:
    """How to retrain.

    Attributes:
        start: version to start from; None takes the serving one.
        fresh: start from no version, with new weights.
        effort: 'quick' freezes the first layers and trains the rest on their features, 'full' trains everything.
        promote: when the new version is served: if the gate says so, always, or never.
        resume: go on with an interrupted training of the same labels.
        restart: throw it away and begin anew.
        seed: of everything random, the first draw of the holdout included.
        on_error: 'skip' leaves out images that are gone and regions that cannot be read.
        holdout: share of the images that are never trained on; for the first draw of a project.
        images: the folder with the images of a dataset on disk, where they are not beside it.
        annotations: which of several annotations of a Label Studio task are learned from.
        overrides: training settings by name, in place of the effort's.
    """

    start: str | None = None
    fresh: bool = False
    effort: Effort = "quick"
    promote: Promote = "if-better"
    resume: bool = False
    restart: bool = False
    seed: int = 0
    on_error: OnError = "fail"
    holdout: float = SHARE
    images: Path | None = None
    annotations: Counting = "latest"
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """What a retraining did.

    Attributes:
        version: the new one; it is in the registry whether promoted or not.
        parent: that it started from, None if from none.
        promoted: it is served now.
        project: id of the only one that it is for; None: it is for all without a version of their own.
        reason: why, or why not.
        report: the HTML file.
        decision: of the gate.
        changed: what annotators changed, see :func:`.changes.summary`.
        counts: images by role, and what was left out by kind.
        notes: what else should be known.
        training: the training's own result.
        seconds: of the whole.
    """

    version: str
    parent: str | None
    promoted: bool
    project: int | None
    reason: str
    report: Path
    decision: Decision
    changed: Mapping[str, Any]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    training: TrainingResult
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values; single images stand in the report only."""
        gate = self.decision.to_json()
        return {
            "version": self.version,
            "parent": self.parent,
            "promoted": self.promoted,
            "project": self.project,
            "reason": self.reason,
            "report": str(self.report),
            "holdout": gate["holdout"],
            "corrections": gate["corrections"],
            "changed": {key: value for key, value in self.changed.items() if key != "by_image"},
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "training": self.training.to_json(),
            "seconds": round(self.seconds, 1),
        }


def retrain(
    source: Path | StudioProject, registry: Registry, plan: Plan, progress: RetrainProgress | None = None
) -> RetrainResult:
    """Train a new version on what people labelled, judge it on images it never saw, and serve it if it is better.

    Args:
        source: a Label Studio project, which alone is served the new version then; or an export of one, or any dataset that
            `maskloop convert` reads: the new version is for all projects without one of their own.
        registry: has the version to start from, and takes the new one.
        plan: how.
        progress: is told what happens.

    Raises:
        CorrectionsError: nothing to learn from.
        StudioError: Label Studio does not answer.
        TrainingInterrupted: Ctrl-C; the checkpoint is kept.
        RetrainingBusyError: another process is at it.
        MaskloopError: see :func:`~maskloop_backend.training.trainer.train`. Nothing of these changes what is served.
    """
    progress = progress or SilentRetraining()
    began = time.monotonic()
    number: int | None = None
    if isinstance(source, StudioProject):
        described = source.client.project(source.project)
        number = int(described["id"])
        LabelConfigs(registry.home).remember(number, str(described.get("label_config") or ""))
        directory = project_directory(registry.home, number)
        progress = Together([progress, StillThere(source.client, number)])
    else:
        directory = _directory(registry.home, source)
    with _alone(directory):
        parent = _parent(registry, plan, number)
        if parent is None and not plan.fresh:
            progress.said("no version is served yet: training begins with new weights")
        progress.phase("collect")
        known = None if parent is None else parent.labels
        if isinstance(source, StudioProject):
            assert number is not None
            collected = from_project(
                source.client,
                source.fetcher,
                number,
                directory,
                known,
                on_error=plan.on_error,
                watch=progress.moved,
                annotations=plan.annotations,
            )
        else:
            collected = _from_path(source, directory, known, plan, progress)
        return _Retraining(registry, plan, progress, collected, directory, parent, began, number).run()


@dataclass(slots=True)
class _Retraining:
    """One retraining, once its labels are there."""

    registry: Registry
    plan: Plan
    progress: RetrainProgress
    collected: Collected
    directory: Path
    parent: Bundle | None
    began: float
    project: int | None
    notes: list[str] = field(default_factory=list)

    def run(self) -> RetrainResult:
        """Compare, train, judge, report, promote."""
        collected, progress = self.collected, self.progress
        for note in collected.notes:
            self._note(note)
        for line in collected.skipped.lines():
            self._note(f"left out: {line}")
        learned, held_out = self._split()
        progress.said(self._described(learned, held_out))
        progress.phase("compare")
        changed = summary(self._changes(), self._names)
        progress.phase("train")
        initial = None if self.plan.fresh else self.parent
        settings = self._settings(initial, len(learned))
        if collected.merging is not None:
            for name, several in collected.merging.several.items():
                what = "these are learned together, and stay apart"
                if initial is None:
                    what = "new weights have nothing to tell these apart by, and learn it as one class"
                self._note(f"the label {name} stands for {', '.join(several)}: {what}")
        judging = Judging(self.registry, self.project, collected, held_out, progress, fresh=initial is None)
        counts = collected.counts
        short = {key: changed[key] for key in ("images", "pixels", "changed", "share", "miou", "iou")}

        def judge(bundle: Bundle) -> dict[str, Any]:
            judging.judge(bundle)
            gate = judging.decision
            return {
                "effort": self.plan.effort,
                "project": self.project,
                "images": counts,
                "annotators_changed": short,
                "gate": {"promote": gate.promote, "reason": gate.reason, "rule": gate.rule, "against": judging.serving},
            }

        results: list[RetrainResult] = []
        train(
            as_dataset(collected, learned),
            settings,
            self.registry,
            progress,
            resume=self.plan.resume,
            restart=self.plan.restart,
            initial=initial,
            merging=collected.merging,
            emphasis=_emphasis(collected, learned),
            judge=judge,
            saved=lambda training: results.append(self._finish(training, judging, initial, changed)),
            owner=self.directory.name,
        )
        return results[0]

    def _finish(
        self, training: TrainingResult, judging: Judging, initial: Bundle | None, changed: Mapping[str, Any]
    ) -> RetrainResult:
        """Write the report and, if it may be, serve the new version."""
        self.progress.phase("report")
        decision = judging.named(training.version)
        promote, reason = self._verdict(decision, judging)
        extra: dict[str, Any] = {
            "parent": None if initial is None else initial.version,
            "effort": self.plan.effort,
            "served": promote,
            "served to": "all projects without a version of their own" if self.project is None else self.project,
            "why": reason,
            "images": self.collected.counts,
            "changed by annotators": changed,
            "notes": self.notes,
        }
        report = judging.report(self.registry.home / "reports" / training.version, training.version, extra)
        if promote:
            self.registry.promote(training.version, project=self.project, reason=reason)
        return RetrainResult(
            training.version,
            None if initial is None else initial.version,
            promote,
            self.project,
            reason,
            report,
            decision,
            changed,
            self.collected.counts,
            tuple(self.notes),
            training,
            time.monotonic() - self.began,
        )

    @property
    def _names(self) -> list[str]:
        return [label.name for label in self.collected.labels.classes]

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.said(text)

    def _split(self) -> tuple[list[Sample], list[Sample]]:
        """Return the samples to learn from and those held out."""
        collected = self.collected
        if collected.validation:
            return list(collected.samples), list(collected.validation)
        ids = list(dict.fromkeys(collected.task(sample) for sample in collected.samples))
        if len(ids) < 3:
            raise CorrectionsError(
                f"{len(ids)} labelled image(s): at least 3 are needed, one to learn from, one to choose the best weights by "
                "and one to judge by"
            )
        holdout = Holdout.of(self.directory, ids, share=self.plan.holdout, seed=self.plan.seed)
        held_out = [sample for sample in collected.samples if holdout.contains(collected.task(sample))]
        learned = [sample for sample in collected.samples if not holdout.contains(collected.task(sample))]
        if len(learned) < 2 or not held_out:
            raise CorrectionsError(
                f"of {len(ids)} labelled images {len(held_out)} are held out: at least 2 are needed to learn from and 1 to "
                "judge by; label more"
            )
        return learned, held_out

    def _described(self, learned: Sequence[Sample], held_out: Sequence[Sample]) -> str:
        roles = self.collected.roles

        def count(role: Role) -> int:
            return sum(roles.get(sample.id) == role for sample in learned)

        return (
            f"{len(learned)} images to learn from ({count('corrected')} corrected, {count('manual')} drawn by hand, "
            f"{count('accepted')} accepted unchanged), {len(held_out)} held out"
        )

    def _changes(self) -> list[Change]:
        """Return how far the masks that annotators had, or else the serving version's, were from theirs."""
        collected = self.collected
        changes, others = [], []
        for sample in collected.samples:
            before = collected.predictions.get(sample.id)
            if before is None or (before.height, before.width) != (sample.height, sample.width):
                others.append(sample)
                continue
            maps = channels(before, collected.labels), channels(sample, collected.labels)
            role = collected.roles[sample.id]
            changes.append(Change.between(sample.id, role, *maps, len(self._names), stored=True))
        served = predictor_of(self.registry, self.registry.serving(self.project))
        if served is None or not others:
            return changes
        serving = as_drawn(served, collected)
        try:
            table = channel_map(serving, collected.labels)
        except MeasurementError as error:
            self._note(str(error))
            return changes
        examples = Examples(others, collected.labels)
        for index, name in enumerate(examples.ids):
            self.progress.moved(index, len(examples))
            image, target = examples[index]
            predicted = table[serving.predict([image])[0].label_map]
            role = collected.roles[name]
            changes.append(Change.between(name, role, predicted, target, len(self._names), stored=False))
        self.progress.moved(len(examples), len(examples))
        return changes

    def _settings(self, initial: Bundle | None, images: int) -> TrainingSettings:
        base = TrainingSettings() if self.parent is None else inherited(self.parent.record)
        effort: dict[str, Any] = dict(settings_of(base, self.plan.effort if initial is not None else "fresh", images))
        if initial is None and self.plan.effort == "quick":
            self._note("a training from new weights has no features to keep: --effort full")
        return dataclasses.replace(base, **{**effort, "seed": self.plan.seed, **self.plan.overrides})

    def _verdict(self, decision: Decision, judging: Judging) -> tuple[bool, str]:
        if self.plan.promote == "never":
            return False, f"--promote never; the gate: {decision.reason}"
        if self.plan.promote == "always":
            return True, f"--promote always; the gate: {decision.reason}"
        serving = self.registry.serving(self.project)
        if decision.promote and serving != judging.serving:
            return False, (
                f"the serving version changed from {judging.serving} to {serving} meanwhile; nothing was promoted, as the "
                "two were not compared"
            )
        return decision.promote, decision.reason


def _emphasis(collected: Collected, learned: Sequence[Sample]) -> Emphasis:
    roles = {sample.id: collected.roles.get(sample.id) for sample in learned}
    return Emphasis(
        frozenset(name for name, role in roles.items() if role == "corrected"),
        {name: ACCEPTED_WEIGHT for name, role in roles.items() if role == "accepted"},
    )


def _parent(registry: Registry, plan: Plan, project: int | None) -> Bundle | None:
    """Return the version to start from; for a fresh start the one whose network and classes are taken over."""
    version = plan.start or registry.serving(project)
    return None if version is None else registry.load(version)


def _from_path(
    source: Path, directory: Path, known: LabelSet | None, plan: Plan, progress: RetrainProgress
) -> Collected:
    name = datasets.detect(source)
    if name == "labelstudio":
        fetcher = ImageFetcher(None, None)
        return from_export(
            source,
            directory,
            known,
            images=plan.images,
            fetcher=fetcher,
            on_error=plan.on_error,
            watch=progress.moved,
            annotations=plan.annotations,
        )
    if plan.annotations != "latest":
        raise CorrectionsError(
            f"--annotations {plan.annotations}: {source} is {name}, and only Label Studio has several"
        )
    return from_dataset(source, name, images=plan.images, on_error=plan.on_error)


def _directory(home: Path, source: Path) -> Path:
    """Return where the holdout of a dataset on disk is kept: the same for the same path."""
    resolved = source.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    return home / "projects" / f"{resolved.stem[:40]}-{digest}"


def _alone(directory: Path) -> AbstractContextManager[None]:
    """Hold the only right to retrain on a project."""
    busy = f"another retraining is at work on {directory.name}; wait for it, or end it (`maskloop jobs`)"
    return held(directory / ".lock", busy=RetrainingBusyError(busy))
