"""From one format to another: read, relabel, split, write, check, and only then show the output."""

from __future__ import annotations

import hashlib
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any

from . import datasets
from .atomic import staged
from .errors import DataError, OutputExistsError, TargetError, VerificationError
from .journal import Journal, report_of
from .registry import load_format
from .relabel import relabel
from .report import OnError, Tally, WriteReport
from .samples import Dataset, LabelSet, Sample
from .splitting import split as split_dataset

# called with (samples written, number of samples or None where it is unknown)
Progress = Callable[[int, "int | None"], None]
# Samples that a thread may read ahead of the writer: bounds memory, hides the time that the reader waits for its files.
READ_AHEAD = 16
_EXAMPLES = 5


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
        seconds: from the first sample read to the output in its place.
    """

    source_format: str
    target_format: str
    parts: dict[str, WriteReport] = field(default_factory=dict)
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    verified: int | None = None
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
    resume: bool = False,
    workers: int = 1,
    progress: Progress = lambda done, count: None,
) -> ConversionReport:
    """Convert a dataset on disk to another format.

    The output is made beside its place and moved there when everything is done and checked: before that, whatever
    happens, what was there stays as it was. The same input gives the same bytes, for any number of workers.

    Args:
        source: file or folder.
        target: the folder or file to make.
        to: 'png', 'coco', 'tfrecord' or 'labelstudio'.
        source_format: likewise; None finds out.
        read_options: of the source format's ``read``.
        write_options: of the target format's ``write``.
        rename: old label name -> new one; onto an existing name merges.
        drop: names of labels to leave out, with their regions.
        split: shares of the parts 'train', 'val' and perhaps 'test' (80, 10, 10), each a folder of its own below
            ``target``; empty for no parts.
        seed: of the draw of the parts.
        on_error: 'fail' stops at the first bad record, 'skip' leaves it out and counts it.
        strict: refuse if the target cannot hold something, instead of counting it.
        verify: read the output back and compare every mask.
        overwrite: replace what is at ``target``.
        resume: keep what is done when something stops the conversion, and go on with what such a conversion left: in
            ``.NAME.unfinished`` beside ``target``. The source is read from its start and compared, so the output is that
            of a conversion that nothing stopped. For png and tfrecord; the others are one JSON document.
        workers: threads, 1 or more. With 2, one reads ahead: for sources on slow disks. From a cache both wait for the
            interpreter's lock, and it costs time. More than 2 gain nothing.
        progress: is called with (samples written, number of samples or None).

    Returns:
        What was written, lost, skipped and verified.

    Raises:
        FormatError: the source cannot be read; the message names file, record and reason.
        TargetError: ``strict``, and something would be lost.
        VerificationError: ``verify``, and something came back different.
        OutputExistsError: something is at ``target`` already, or writing there would touch what is read; ``resume``: what
            lies unfinished there was begun in another way.
        OptionError: a format has no such option (``resume``: coco and labelstudio).
    """
    source, target = Path(source), Path(target)
    _keep_apart(source, target)
    if resume:
        datasets.accepted(to, "write", {"resume": None})
    started = time.perf_counter()
    name = source_format or datasets.detect(source)
    dataset = datasets.read(source, name, **(read_options or {}), on_error=on_error)
    changed = relabel(dataset, rename=rename or {}, drop=drop)
    parts = split_dataset(changed, split, seed=seed) if split else {"": changed}
    report = ConversionReport(name, to)
    counts = [part.count for part in parts.values() if part.count is not None]
    counter = _Counter(progress, sum(counts) if len(counts) == len(parts) else None)
    folders: set[Path] = set()
    with ExitStack() as stack:
        aside = stack.enter_context(staged(target, overwrite=overwrite, keep=resume))
        options = dict(write_options or {})
        if resume:
            how = {"to": to, "options": repr(sorted(options.items())), "parts": list(parts)}
            journals = aside.parent.parent
            stack.enter_context(Journal(journals / "conversion.journal", how))
        for part, samples in parts.items():
            counted = replace(samples, samples=_Passing(samples, workers, counter, folders))
            place = aside / part
            if resume:
                report.parts[part] = _gone_on(counted, place, to, options, journals / f"{part or 'output'}.journal")
            else:
                report.parts[part] = datasets.write(counted, place, to, **options)
        report.skipped.merge(dataset.skipped)
        report.notes.merge(dataset.notes)
        if strict and report.written.losses:
            raise TargetError(
                f"{target} was not written: {to} cannot hold everything (--strict): "
                + "; ".join(report.written.losses.lines())
            )
        if verify:
            report.verified = sum(
                _verified(samples, aside / part, to, exact=not report.parts[part].losses)
                for part, samples in parts.items()
            )
        _keep_images(folders, [target.parent / entry.name for entry in aside.parent.iterdir()])
    report.seconds = time.perf_counter() - started
    return report


def _gone_on(dataset: Dataset, place: Path, to: str, options: Mapping[str, Any], path: Path) -> WriteReport:
    """Write a part, or what of it is not written yet; the journal at ``path`` knows."""
    labels = hashlib.blake2b(repr((dataset.labels, dataset.attributes)).encode(), digest_size=16).hexdigest()
    with Journal(path, {"labels": labels, "split": dataset.split}) as journal:
        last = max(enumerate(journal), default=(0, dict[str, Any]()), key=itemgetter(0))[1]
        if place.exists():
            for sample in dataset if "complete" in last else ():
                journal.fingerprint(sample)
            if journal.chain.hexdigest() == last.get("complete"):
                return report_of(last["report"])
            shutil.rmtree(place)
            path.unlink()
    with Journal(path, {"labels": labels, "split": dataset.split}) as journal:
        report = datasets.write(dataset, place, to, **options, resume=journal)
        journal.add({"complete": journal.chain.hexdigest(), "report": report.to_dict()})
    return report


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


def _verified(expected: Dataset, path: Path, to: str, *, exact: bool) -> int:
    """Return how many samples of an output were read back and found equal.

    Args:
        expected: what was written.
        path: the output.
        to: its format.
        exact: compare every region; otherwise, where the format could not hold all, the label maps of names.
    """
    count = 0
    different: list[str] = []
    found = load_format(to).read(path)
    for wanted, got in zip_longest(expected, found):
        if wanted is None or got is None:
            different.append(f"{(wanted or got).id}: {'not in the output' if got is None else 'not in the input'}")
        elif reason := _difference(wanted, expected.labels, got, found.labels, exact=exact):
            different.append(f"{wanted.id}: {reason}")
        count += 1
    if different:
        shown = "; ".join(different[:_EXAMPLES])
        raise VerificationError(
            f"{len(different)} of {count} samples came back different and the output was not put in place: {shown}"
        )
    return count


def _difference(
    wanted: Sample, wanted_labels: LabelSet, got: Sample, got_labels: LabelSet, *, exact: bool
) -> str | None:
    """Return how a sample differs from what was written, None if it does not."""
    if wanted.id != got.id:
        return f"came back as {got.id}"
    if (wanted.height, wanted.width) != (got.height, got.width):
        return f"{wanted.height} x {wanted.width} pixels came back as {got.height} x {got.width}"
    if not exact:
        if _painted(wanted, wanted_labels) != _painted(got, got_labels):
            return "the label map differs"
        return None
    if len(wanted.regions) != len(got.regions):
        return f"{len(wanted.regions)} regions came back as {len(got.regions)}"
    # Ids of the ignored label and the background need not be listed: they stand for themselves.
    names = [
        [{label.id: label.name for label in labels.labels}.get(region.label, region.label) for region in sample.regions]
        for sample, labels in ((wanted, wanted_labels), (got, got_labels))
    ]
    for k, (before, after) in enumerate(zip(*names, strict=True)):
        if before != after:
            return f"region {k} was {before!r} and came back as {after!r}"
    if wanted.masks != got.masks:
        return "masks differ"
    return None


def _painted(sample: Sample, labels: LabelSet) -> dict[str, bytes]:
    """Return the visible pixels of each label by name, as the bytes of their runs."""
    from .masks import RunList

    ids, masks = RunList.from_label_map(sample.label_map(labels))
    known = {label.id: label.name for label in labels.labels}
    return {
        known.get(int(label_id), ""): masks.row(k).tobytes()
        for k, label_id in enumerate(ids)
        if int(label_id) != labels.fill_id
    }


class _Counter:
    """Counts samples as they are written."""

    def __init__(self, progress: Progress, count: int | None) -> None:
        self._progress = progress
        self._count = count
        self.done = 0
        progress(0, count)

    def step(self) -> None:
        """One more."""
        self.done += 1
        self._progress(self.done, self._count)


@dataclass(frozen=True, slots=True, eq=False)
class _Passing:
    """Samples on their way to the writer: read ahead by a thread, counted."""

    dataset: Dataset
    workers: int
    counter: _Counter
    # gets the folders of the images' files
    folders: set[Path]

    def __iter__(self) -> Iterator[Sample]:
        for sample in _read_ahead(iter(self.dataset)) if self.workers > 1 else self.dataset:
            if isinstance(sample.image.source, Path):
                self.folders.add(sample.image.source.parent)
            yield sample
            self.counter.step()


def _read_ahead(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Yield what an iterator yields, at most READ_AHEAD items behind a thread that runs it; its errors come through."""
    items: queue.Queue[tuple[Sample | None, BaseException | None]] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: tuple[Sample | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            for sample in samples:
                put((sample, None))
                if stopped.is_set():
                    return
            put((None, None))
        except BaseException as error:  # noqa: BLE001 - raised again where the samples are used
            put((None, error))

    thread = threading.Thread(target=run, name="maskloop-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            sample, error = items.get()
            if error is not None:
                raise error
            if sample is None:
                return
            yield sample
    finally:
        stopped.set()
        thread.join()


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
