"""Label a source into a dataset: plan, make the shards that are missing, report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..locks import held
from ..registry.store import Registry
from . import destinations, plan, sources, storage
from .destinations import OWN, DatasetDestination
from .engines.local import LocalEngine
from .engines.protocol import Engine, Lost
from .errors import BatchError
from .items import Failure, Item, Read, Shard
from .manifest import Manifest
from .plan import SHARD_IMAGES, Plan
from .report import Report
from .shard import Limits
from .work import Choosing, Labelling, Model

# called with (images that went through, all of them)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        model: that labels.
        source: see :func:`.sources.listed`; with ``taken``, what people call it.
        root: where the shards go, path or URL.
        format: of them.
        source_format: of a source that is a dataset; None finds out.
        options: of the format's writer, as the user gave them.
        below: pixels of less confidence are left unlabelled.
        limit: takes so many images at most.
        seed: takes them in random order; None in the source's.
        shard_images: of a shard.
        limits: of memory and images, of each process.
        overwrite: begin anew where a plan is there.
        taken: the images, of a source that is no files; None lists ``source``.
    """

    model: Model
    source: str
    root: str
    format: str
    source_format: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    below: float = 0.0
    limit: int | None = None
    seed: int | None = None
    shard_images: int = SHARD_IMAGES
    limits: Limits = field(default_factory=Limits)
    overwrite: bool = False
    taken: sources.Taken | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be done, before anything is written.

    Attributes:
        request: what was asked for.
        plan: with all images.
        listed: the source.
        finished: the shards that are, by number.
        destination: of the shards.
    """

    request: Request
    plan: Plan
    listed: sources.Listed
    finished: Mapping[int, Manifest]
    destination: DatasetDestination

    @property
    def waiting(self) -> list[Shard]:
        """The shards that are to be made: those without a manifest of this plan, and those whose images were out of reach."""
        return [shard for shard in self.plan.shards if not self._is_finished(shard)]

    @property
    def read(self) -> Read:
        """What gives a worker the bytes of the source's images."""
        if self.request.taken is not None:
            return self.request.taken.read
        has_records = any(not item.at for item in self.listed.items)
        return sources.Reader(self.request.source, self.listed.format if has_records else None)

    @property
    def images(self) -> int:
        """How many images the waiting shards have."""
        return sum(len(shard.items) for shard in self.waiting)

    def _is_finished(self, shard: Shard) -> bool:
        manifest = self.finished.get(shard.number)
        return (
            manifest is not None
            and manifest.plan == self.plan.mark
            and not manifest.again
            and len(manifest.images) + len(manifest.failures) == len(shard.items)
        )


def prepare(request: Request, choose: Callable[[Model], tuple[str, str]]) -> Prepared:
    """Return what is to be done; nothing is written.

    Args:
        request: what is asked for.
        choose: finds out what runs the model fastest; asked where the user leaves it open and no plan says it.

    Raises:
        BatchError: the source or the destination cannot be used.
        RegistryError: there is no such version.
    """
    model = request.model
    record = Registry(model.home).record(model.version)
    options = destinations.write_options(request.format, request.options, model.version)
    before = None if request.overwrite else plan.stored(request.root)
    destinations.check_root(request.root, fresh=before is None and plan.stored(request.root) is None)
    listed = request.taken.listed if request.taken else sources.listed(request.source, request.source_format)
    labels = record.labels.with_ignored() if request.below > 0 else record.labels
    runtime, precision = model.runtime, model.precision
    if before is not None:
        runtime = before.facts.get("runtime", runtime) if runtime == "auto" else runtime
        precision = before.facts.get("precision", precision) if precision == "auto" else precision
    elif "auto" in (runtime, precision):
        runtime, precision = choose(model)  # type: ignore[assignment]
    facts = {
        "version": model.version,
        "format": request.format,
        "options": {key: str(value) for key, value in sorted(options.items())},
        "confidence_below": request.below,
        "runtime": runtime,
        "precision": precision,
        # plans from before there was a choice do not say
        "edges": model.edges or None,
    }
    if before is not None:
        plan.check_same(before, facts, request.root)
    items: list[Item] = list(listed.items)
    if request.seed is not None:
        items = sources.shuffled(items, request.seed)
    whole = (before or Plan(facts)).with_images(items[: request.limit], request.shard_images)
    if request.limit is not None:
        whole = replace(whole, gone=0)
    destination = DatasetDestination(request.root, request.format, options, labels, model.version, whole.mark)
    manifests = {} if request.overwrite else {manifest.shard: manifest for manifest in destination.manifests()}
    fixed = replace(model, runtime=runtime, precision=precision)
    return Prepared(replace(request, model=fixed), whole, listed, manifests, destination)


def label(prepared: Prepared, engine: Engine, progress: Progress = lambda done, total: None) -> Report:
    """Make the shards that are missing and return the report, which is kept beside them.

    Whatever ends it, the shards that are finished stay; the same call goes on with the others.

    Raises:
        BatchError: another process labels into the same folder.
        EngineError: the engine cannot run.
        StorageError: the destination takes no more.
    """
    request = prepared.request
    with _alone(request.root):
        if request.overwrite and not storage.is_url(request.root):
            _clear(Path(request.root))
        if prepared.plan.added or request.overwrite:
            prepared.plan.save(request.root)
        waiting = prepared.waiting
        report = Report(request.model.version, images=prepared.plan.images)
        report.repeated, report.gone = len(prepared.listed.repeated), prepared.plan.gone
        redone = {shard.number for shard in waiting}
        for manifest in prepared.finished.values():
            if manifest.shard not in redone:
                report.add(manifest.finished())
        report.before = report.done
        counter = _Counter(progress, report.images, report.images - prepared.images)
        work = Labelling(request.model, prepared.read, prepared.destination, request.below, request.limits)
        for shard, result in engine.run(work, waiting, counter.tick):
            if isinstance(result, Lost):
                report.failures += [Failure(item.name, "unwritable", result.reason) for item in shard.items]
                continue
            report.add(result)
            report.labelled += result.done
        report.seconds = counter.seconds
        report.twins = _twins(prepared.destination)
        storage.write(storage.joined(request.root, f"{OWN}/report.json"), report.to_bytes())
    return report


def chosen(engine: LocalEngine) -> Callable[[Model], tuple[str, str]]:
    """Return what finds out which runtime is fastest, in the kind of process that will use it."""

    def ask(model: Model) -> tuple[str, str]:
        ((_, said),) = list(engine.run(Choosing(model), [0], lambda count: None))
        if isinstance(said, Lost):
            raise BatchError(f"{model.version} cannot be run: {said.reason}")
        return said

    return ask


def _alone(root: str) -> AbstractContextManager[None]:
    if storage.is_url(root):
        return nullcontext()
    busy = BatchError(f"another `maskloop label` writes into {root}; wait for it, or stop it first")
    return held(Path(root) / OWN / "lock", busy=busy)


def _clear(root: Path) -> None:
    """Remove what an earlier plan made; nothing else."""
    shards = root / OWN / "shards"
    numbers = [Path(name).stem for name in storage.names(str(shards))]
    for number in numbers:
        # the manifest first: what is left without one counts as not made
        (shards / f"{number}.jsonl").unlink(missing_ok=True)
        shutil.rmtree(root / f"shard-{number}", ignore_errors=True)


def _twins(destination: DatasetDestination) -> int:
    seen: set[bytes] = set()
    count = 0
    for manifest in destination.manifests():
        for _, digest, *_ in manifest.images:
            key = bytes.fromhex(digest)[:16]
            count += key in seen
            seen.add(key)
    return count


class _Counter:
    """Counts images that went through, and the time since the first came."""

    def __init__(self, progress: Progress, total: int, before: int) -> None:
        self._progress, self._total, self._done = progress, total, before
        self._started: float | None = None
        self._last = 0.0
        progress(before, total)

    def tick(self, count: int) -> None:
        """So many more."""
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        self._last = now
        self._done += count
        self._progress(self._done, self._total)

    @property
    def seconds(self) -> float:
        """Since the first image came out."""
        return 0.0 if self._started is None else self._last - self._started
