"""The gate of a retraining: the candidate against what is served, measured on images that nobody trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskloop_converters.samples import LabelSet, Sample

from ..evaluation.assessment import assess
from ..evaluation.comparison import compare
from ..evaluation.gate import Decision, decide
from ..evaluation.measurement import Measurement, MeasurementError, measure
from ..evaluation.report import write_gate_report, write_report
from ..inference.prediction import Segmenter
from ..inference.predictor import Predictor
from ..model.bundle import Bundle
from ..registry.store import Registry
from ..training.dataset import Examples
from .collected import Collected, as_drawn
from .in_use import lost
from .progress import RetrainProgress


class Judging:
    """The gate: the candidate against the version that is served when it is ready.

    Args:
        registry: knows what is served.
        project: that it is for; None: all without a version of their own.
        collected: labels and roles.
        held_out: samples that were never trained on.
        progress: is told how far it is.
        fresh: the candidate knows nothing but what it was trained on.
    """

    def __init__(
        self,
        registry: Registry,
        project: int | None,
        collected: Collected,
        held_out: Sequence[Sample],
        progress: RetrainProgress,
        *,
        fresh: bool,
    ) -> None:
        self._registry = registry
        self._project = project
        self._collected = collected
        # a project that goes on from what it was served had those labels in use all the time
        self._learned = collected.learned if project is None or fresh else None
        self._labels = collected.labels
        self._examples = Examples(held_out, collected.labels)
        self._corrected = [s.id for s in held_out if collected.roles.get(s.id) == "corrected"]
        self._progress = progress
        self._segmenters: list[Segmenter] = []
        self._measured: list[Measurement] = []
        self.serving: str | None = None
        self.decision = Decision(False, "not judged yet", "", None, None)

    def judge(self, bundle: Bundle) -> None:
        """Measure a candidate and the serving version, and decide."""
        self._progress.phase("gate")
        self.serving = self._registry.serving(self._project)
        self._labels = bundle.labels
        serving = predictor_of(self._registry, self.serving)
        both = [Predictor(bundle), *([] if serving is None else [serving])]
        self._segmenters = [as_drawn(segmenter, self._collected) for segmenter in both]
        steps = len(self._segmenters) * len(self._examples)
        self._measured = []
        for number, segmenter in enumerate(self._segmenters):
            before = number * len(self._examples)
            try:
                measured = measure(segmenter, self._examples, each=self._moved(before, steps))
            except MeasurementError as error:
                if number == 0:
                    raise
                reason = f"{error}; it cannot be compared: --promote always serves the new version"
                self.decision = Decision(False, reason, "", None, None)
                return
            self._measured.append(measured)
        self.decision = self._decision()

    def named(self, version: str) -> Decision:
        """Return the decision with the candidate's name, which it got when it was saved."""
        if self._measured:
            self._measured[0] = dataclasses.replace(self._measured[0], version=version)
        if len(self._measured) == len(self._segmenters):
            self.decision = self._decision()
        return self.decision

    def report(self, directory: Path, version: str, extra: Mapping[str, Any]) -> Path:
        """Write why the candidate is promoted or not."""
        if len(self._measured) == 2:
            candidate, serving = self._measured
            segmenters = self._segmenters[0], self._segmenters[1]
            return write_gate_report(directory, self.decision, candidate, serving, self._examples, segmenters, extra)
        candidate_only = _Named(self._segmenters[0], version)
        assessment = assess(candidate_only, self._examples)
        return write_report(directory, assessment, self._examples, candidate_only, overwrite=True)

    def _decision(self) -> Decision:
        if len(self._measured) == 1:
            rule = "The first version is served; there is none to compare it with."
            return Decision(True, "no version was served before", rule, None, None)
        candidate, serving = self._measured
        corrections = None
        if self._corrected:
            corrections = compare(candidate.of(self._corrected), serving.of(self._corrected))
        gone = lost(self._registry, self._project, self._labels, self._learned)
        return decide(compare(candidate, serving), corrections, lost=gone)

    def _moved(self, before: int, steps: int) -> Callable[[int], None]:
        return lambda done: self._progress.moved(before + done, steps)


@dataclass(frozen=True, slots=True)
class _Named:
    """A segmenter under the name that its version was given."""

    segmenter: Segmenter
    version: str

    @property
    def labels(self) -> LabelSet:
        """Of the segmenter."""
        return self.segmenter.labels

    def predict(self, images: Sequence[Any]) -> Any:
        """Predict."""
        return self.segmenter.predict(images)


def predictor_of(registry: Registry, version: str | None) -> Predictor | None:
    """Return what predicts with a version, None where there is none."""
    return None if version is None else Predictor(registry.load(version))
