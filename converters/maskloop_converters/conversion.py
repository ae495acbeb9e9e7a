"""From one format to another: read, relabel, split, write, check, and only then show the output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import datasets
from .atomic import staged
from .errors import DataError, OptionError, OutputExistsError, TargetError
from .formats.gate import Gate, SampleWriter
from .formats.outputs import check_replaceable
from .formats.reduction import Reduced
from .options import checked
from .reading import Reading, read_beside
from .registry import load_target
from .report import ErrorPolicy, OnError, Tally, WriteReport
from .samples import Dataset, Sample
from .splitting import check_shares, drawn_parts
from .verification import Noted

# called with (samples written, number of samples or None where it is unknown)
Progress = Callable[[int, "int | None"], None]
# Processes: one reads, one writes.
WORKERS = range(1, 3)


@dataclass(slots=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        source_format: found out or given.
        target_format: given.
        parts: what was written, by part ('train', ...); '' where the output has no parts.
        skipped: samples, records and files left out, by kind with examples.
        notes: what should be said of reading the source though nothing was left out, by kind with examples.
        verified: number of samples read back and found equal, None where that was not asked for.
        not_compared: what of them was not compared, and why.
        seconds: from the first sample read to the output in its place.
    """

    source_format: str
    target_format: str
    parts: dict[str, WriteReport] = field(default_factory=dict)
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    verified: int | None = None
    not_compared: Tally = field(default_factory=Tally)
    seconds: float = 0.0

    @property
    def written(self) -> WriteReport:
        """All parts together."""
        whole = WriteReport()
        for report in self.parts.values():
            whole.merge(report)
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "from": self.source_format,
            "to": self.target_format,
            **self.written.to_dict(),
            "parts": {name: report.to_dict() for name, report in self.parts.items() if name},
            "skipped": self.skipped.to_dict(),
            "source_notes": self.notes.to_dict(),
            "verified": self.verified,
            "not_compared": self.not_compared.to_dict(),
            "seconds": round(self.seconds, 3),
        }


def convert(
    source: str | Path,
    target: str | Path,
    to: str,
    *,
    source_format: str | None = None,
    read_options: Mapping[str, Any] | None = None,
    write_options: Mapping[str, Any] | None = None,
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    split: Sequence[float] = (),
    seed: int = 0,
    on_error: OnError = "fail",
    strict: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    single_file: bool = False,
    workers: int = 1,
    progress: Progress = lambda done, count: None,
) -> ConversionReport:
    """Convert a dataset on disk to another format.

    The output is made beside its place and moved there when everything is done and checked: before that, whatever
    happens, what was there stays as it was. The same input gives the same bytes, for any number of workers.

    Args:
        source: file or folder.
        target: the folder or file to make.
        to: 'png', 'coco', 'tfrecord', 'labelstudio', ... (``registry.TARGETS``).
        source_format: one of ``registry.FORMATS``; None finds out.
        read_options: of the source format's ``read``.
        write_options: of the target format's ``write``.
        rename: old label name -> new one; onto an existing name merges.
        drop: names of labels to leave out, with their regions.
        split: shares of the parts 'train', 'val' and perhaps 'test' (80, 10, 10), each a folder of its own below
            ``target``; empty for no parts.
        seed: of the draw of the parts.
        on_error: 'fail' stops at the first bad record, 'skip' leaves it out and counts it.
        strict: refuse if the target cannot hold something, or something of the source is not taken, instead of counting it.
        verify: read the output back and compare all that the format holds; what was not compared is counted.
        overwrite: replace what is at ``target``, where maskloop wrote it.
        single_file: only the file at ``target`` is kept; what stands in files beside it is lost, and counted.
        workers: processes, 1 or 2. With 2, another one reads and decodes while this one encodes and writes.
        progress: is called with (samples written, number of samples or None).

    Returns:
        What was written, lost, skipped and verified.

    Raises:
        FormatError: the source cannot be read; the message names file, record and reason. Or the target is read only.
        DataError: there is not one sample.
        TargetError: ``strict``, and something would be lost.
        VerificationError: ``verify``, and something came back different.
        OutputExistsError: something is at ``target`` already, or writing there would touch what is read.
        OptionError: a format has no such option, or its value is wrong.
    """
    source, target = Path(source), Path(target)
    _keep_apart(source, target)
    if overwrite:
        check_replaceable(target)
    if split:
        check_shares(split, seed)
    if workers not in WORKERS:
        raise OptionError(f"--workers (workers=) is {WORKERS.start} or {WORKERS.stop - 1}, not {workers!r:.80}")
    started = time.perf_counter()
    name = source_format or datasets.detect(source)
    module = load_target(to)
    options = checked(to, "write", write_options or {})
    policy = ErrorPolicy(on_error)
    reading = Reading(source, name, read_options or {}, on_error, rename or {}, drop)
    dataset = reading.opened()
    heads, part_of = _drawn(dataset, split, seed, on_error)
    report = ConversionReport(name, to)
    counter = _Counter(progress, sum(head.count for head in heads.values() if head.count) if split else dataset.count)
    with staged(target, overwrite=overwrite) as aside:
        with ExitStack() as stack:
            parts = {
                part: _Part(head, stack.enter_context(module.opening(head, aside / part, **options)), to, options)
                for part, head in heads.items()
            }
            gates = {part: Gate(head.labels, policy) for part, head in heads.items()}
            samples = iter(dataset) if workers == 1 else stack.enter_context(read_beside(reading, dataset))
            for number, sample in enumerate(samples):
                part = part_of[number] if split else ""
                if gates[part].write(sample, parts[part] if verify else parts[part].writer):
                    counter.step(sample)
        if split and (join_parts := getattr(module, "join_parts", None)):
            join_parts(aside, heads, options)
        report.parts = {part: own.writer.report for part, own in parts.items()}
        report.skipped.merge(dataset.skipped)
        report.skipped.merge(policy.skipped)
        report.notes.merge(dataset.notes)
        if not report.written.samples:
            raise DataError(
                f"{source} holds no sample that could be taken; nothing was written{_reasons(report.skipped)}"
            )
        if verify:
            report.verified = 0
            for part, own in parts.items():
                count, left_out = own.noted.compare(aside / part)
                report.verified += count
                report.not_compared.merge(left_out)
        if single_file:
            _keep_alone(aside, dataset, to, report)
        if strict and (report.written.losses or report.skipped):
            raise TargetError(
                f"{target} was not written: not everything can be taken over (--strict): "
                + "; ".join([*report.written.losses.lines(), *report.skipped.lines()])
            )
        _keep_images(counter.folders, [target.parent / entry.name for entry in aside.parent.iterdir()])
    report.seconds = time.perf_counter() - started
    return report


def _drawn(
    dataset: Dataset, shares: Sequence[float], seed: int, on_error: OnError
) -> tuple[dict[str, Dataset], list[str]]:
    """Return the head of each part by name, and the part of each sample; one part, '', without shares.

    Only where the source does not say how many samples it has, or some are skipped, it is read once to count them.
    """
    if not shares:
        return {"": dataset}, []
    count = dataset.count if on_error == "fail" else None
    if count is None:
        count = sum(1 for _ in dataset)
    sizes, part_of = drawn_parts(count, shares, seed=seed)
    return {part: replace(dataset, samples=(), count=size, split=part) for part, size in sizes.items()}, part_of


@dataclass(slots=True)
class _Part:
    """A part of the output that is being written, and what was written of it so far, for verifying."""

    head: Dataset
    writer: SampleWriter
    to: str
    options: Mapping[str, Any]
    noted: Noted = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.writer, Reduced):
            self.noted = Noted(self.writer.head, self.to, self.options, ordered=False)
        else:
            self.noted = Noted(self.head, self.to, self.options)

    @property
    def report(self) -> WriteReport:
        return self.writer.report

    def write(self, sample: Sample) -> None:
        """Write a sample and note what it was."""
        losses = self.report.losses.total
        self.writer.write(sample)
        if isinstance(self.writer, Reduced):
            self.noted.add(self.writer.held(), lossy=False)
        else:
            self.noted.add(sample, lossy=self.report.losses.total != losses)


def _keep_alone(path: Path, head: Dataset, to: str, report: ConversionReport) -> None:
    """Remove what stands beside a file, and count what is lost with it."""
    for entry in path.parent.iterdir():
        if entry != path:
            entry.unlink()
    found, losses = datasets.read(path, to), report.parts[""].losses
    if found.labels != head.labels:
        losses.add("label lists (ids, order, colours), which have no place in one file", to)
    if dict(found.attributes) != dict(head.attributes) or found.split != head.split:
        losses.add("attributes of the dataset, which have no place in one file", to)


def _reasons(skipped: Tally) -> str:
    return ": " + "; ".join(skipped.lines()) if skipped else ""


def _keep_apart(source: Path, target: Path) -> None:
    """Refuse an output in the place of what is read: the source is read while and after the output is written."""
    read, written = source.resolve(), target.resolve()
    if read == written:
        raise OutputExistsError(f"{target} is the source itself; nothing was written: give another place")
    if read in written.parents:
        raise OutputExistsError(f"{target} lies inside the source {source}; nothing was written: give a place outside")
    if written in read.parents and written.is_dir():
        raise OutputExistsError(
            f"the source {source} lies inside {target}, which the output would replace; nothing was written: "
            "give another place"
        )


def _keep_images(folders: set[Path], replaced: list[Path]) -> None:
    """Refuse to replace a folder that images were read from."""
    for place in replaced:
        for folder in folders if place.is_dir() else ():
            if folder.resolve().is_relative_to(place.resolve()):
                raise OutputExistsError(
                    f"the source's images are in {folder}, which the output would replace; nothing was written: "
                    "give another place"
                )


class _Counter:
    """Counts samples as they are written, and remembers the folders of their images."""

    def __init__(self, progress: Progress, count: int | None) -> None:
        self._progress = progress
        self._count = count
        self._done = 0
        self.folders: set[Path] = set()
        progress(0, count)

    def step(self, sample: Sample) -> None:
        """One more."""
        if isinstance(sample.image.source, Path):
            self.folders.add(sample.image.source.parent)
        self._done += 1
        self._progress(self._done, self._count)


def parse_shares(text: str) -> tuple[float, ...]:
    """Return the shares of '80/10/10'.

    Raises:
        DataError: it is not two or three numbers.
    """
    try:
        shares = tuple(float(part) for part in text.split("/"))
    except ValueError:
        shares = ()
    if len(shares) not in (2, 3):
        raise DataError(f"expected shares such as 80/10/10 or 90/10, got {text!r}")
    return shares
