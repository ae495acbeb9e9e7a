"""Which model answers a project: found in the registry, loaded in the background, replaced without a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from maskloop_converters.samples import LabelSet

from .. import quiet
from ..inference.prediction import Segmenter
from ..registry.history import Served, Serving
from .limits import Refusal
from .logs import log
from .metrics import Metrics

if TYPE_CHECKING:
    from ..inference.runtimes.choosing import Name
    from ..inference.runtimes.protocol import Precision

State = Literal["none", "loading", "ready", "failed"]

# How often a request may look at serving.json.
LOOK_INTERVAL = 1.0
# A version that could not be loaded is tried again after so many seconds: its files may have been mended.
RETRY_INTERVAL = 30.0
# Versions that are held in memory at once, unless the operator says otherwise.
IN_MEMORY = 4


class ModelSource(Protocol):
    """Where model versions come from."""

    def served(self) -> Served:
        """Return which version each project should be served. Cheap: called about once a second."""
        ...

    def versions(self) -> list[str]:
        """Return the versions that there are, newest first."""
        ...

    def labels(self, version: str) -> LabelSet:
        """Return what a version's channels mean, without loading its weights."""
        ...

    def load(self, version: str) -> Segmenter:
        """Load a version; this takes seconds."""
        ...


class RegistrySource:
    """Model versions from the registry under the home directory."""

    def __init__(
        self,
        home: Path,
        *,
        pinned: str | None = None,
        runtime: Name = "auto",
        precision: Precision = "auto",
        edges: bool = False,
    ) -> None:
        """Open the registry.

        Args:
            home: the directory that holds models.
            pinned: a version to serve to all projects whatever serving.json says.
            runtime: what runs the networks, see :func:`~..inference.runtimes.choosing.choose`.
            precision: what they compute in.
            edges: move label maps to the edges of their images.
        """
        from ..registry.store import Registry

        self._registry = Registry(home)
        self._pinned = pinned
        self._runtime: Name = runtime
        self._precision: Precision = precision
        self._edges = edges
        if pinned is not None:
            self._registry.record(pinned)

    def served(self) -> Served:
        """Return the pinned version for all, else what serving.json says."""
        return Served(Serving(self._pinned)) if self._pinned else self._registry.served()

    def versions(self) -> list[str]:
        """Return the registry's versions, newest first."""
        return list(reversed(self._registry.versions()))

    def labels(self, version: str) -> LabelSet:
        """Return the labels of a version's record."""
        return self._registry.record(version).labels

    def load(self, version: str) -> Segmenter:
        """Verify, load and compile a version, so that the first annotator does not wait for the compiler."""
        quiet.import_keras()
        from ..inference.predictor import Predictor
        from ..inference.runtimes.choosing import choose

        bundle = self._registry.load(version)
        choice = choose(bundle, self._runtime, self._precision)
        log(
            logging.INFO,
            "runtime_chosen",
            version=version,
            runtime=choice.runtime.name,
            precision=choice.runtime.precision,
            reason=choice.reason,
        )
        predictor = Predictor(bundle, runtime=choice.runtime, reason=choice.reason, edges=self._edges)
        predictor.warm_up()
        return predictor


class FixedSource:
    """One segmenter that is in memory already."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def served(self) -> Served:
        """Return its version, for all."""
        return Served(Serving(self._segmenter.version))

    def versions(self) -> list[str]:
        """Return its version."""
        return [self._segmenter.version]

    def labels(self, version: str) -> LabelSet:
        """Return its labels."""
        return self._segmenter.labels

    def load(self, version: str) -> Segmenter:
        """Return it."""
        return self._segmenter


@dataclass(slots=True)
class _Version:
    """One version, as far as it is in memory.

    Attributes:
        segmenter: None while it is loading, and where that failed.
        error: why it could not be loaded.
        retry_at: when that is tried again, on the monotonic clock.
        used: counts up over all versions at every use.
    """

    segmenter: Segmenter | None = None
    error: str | None = None
    retry_at: float = float("inf")
    used: int = 0

    @property
    def loading(self) -> bool:
        return self.segmenter is None and self.error is None


class Models:
    """The served models.

    A project is answered by the version that it is served; projects of one version share it. A version that is not in
    memory is loaded, one at a time, in a thread. While a project's new version loads, the one before it goes on answering
    it, and what :meth:`announced` says always is what predictions will carry: Label Studio stores a duplicate at every open
    of a task when the two differ. No project is ever answered by a version that it was not served.

    Args:
        source: of versions.
        metrics: what to count in.
        most: versions in memory at once; beyond that the least recently used is unloaded. While one is loaded there is one
            more, and one that requests are still answered by lives until these are done.
    """

    def __init__(self, source: ModelSource, metrics: Metrics, most: int = IN_MEMORY) -> None:
        self.source = source
        self._metrics = metrics
        self._most = most
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._served: Served | None = None
        self._versions: dict[str, _Version] = {}
        # what answers until the version that is served now is there; None is the default
        self._answering: dict[int | None, str] = {}
        self._uses = 0
        self._unreadable: str | None = None
        self._looked = float("-inf")

    @property
    def state(self) -> State:
        """Say whether there is a model, for /health."""
        with self._changed:
            known = list(self._versions.values())
            if any(version.segmenter is not None for version in known):
                return "ready"
            if any(version.loading for version in known):
                return "loading"
            return "failed" if known or self._unreadable is not None else "none"

    @property
    def runtime(self) -> str | None:
        """Say what runs the model that was used last ('openvino, bfloat16'), for /health; None: it does not say."""
        with self._changed:
            segmenter = self._used_last()
        name, precision = (getattr(segmenter, field, None) for field in ("runtime", "precision"))
        return None if name is None else f"{name}, {precision}"

    @property
    def runtime_reason(self) -> str | None:
        """Say why that runs it, for /health and `maskloop doctor`; None: it does not say."""
        with self._changed:
            reason: str | None = getattr(self._used_last(), "runtime_reason", None)
        return reason

    def _used_last(self) -> Segmenter | None:
        loaded = [version for version in self._versions.values() if version.segmenter is not None]
        return max(loaded, key=lambda version: version.used).segmenter if loaded else None

    @property
    def own(self) -> dict[int, str]:
        """The versions that projects have for themselves."""
        with self._changed:
            served = self._served or Served()
            return {number: one.version for number, one in served.projects.items() if one.version is not None}

    def has_own(self, project: int | None) -> bool:
        """Tell whether a project is served a version of its own, not the default."""
        with self._changed:
            return (self._served or Served()).own(project) is not None

    def look(self) -> None:
        """Notice that other versions are served and begin to load them; returns at once."""
        now = time.monotonic()
        with self._changed:
            if now - self._looked < LOOK_INTERVAL:
                return
            self._looked = now
            try:
                served = self.source.served()
            except (OSError, ValueError) as error:
                # What is served goes on; a broken file must not take it down.
                self._unreadable = str(error)
                log(logging.ERROR, "serving_version_unreadable", error=error)
                return
            self._unreadable = None
            before, self._served = self._served, served
            self._notice(before, served)

    def announced(self, project: int | None = None) -> str | None:
        """Return the version that a project's predictions will carry: it is loaded, or it is loading.

        Args:
            project: its id; None: of a project that is served the default.
        """
        self.look()
        with self._changed:
            return self._choose(project)

    def labels(self, version: str) -> LabelSet:
        """Return a version's labels, which are known before its weights are loaded."""
        with self._changed:
            known = self._versions.get(version)
            if known is not None and known.segmenter is not None:
                return known.segmenter.labels
        return self.source.labels(version)

    def get(self, timeout: float, project: int | None = None) -> Segmenter:
        """Return the model that a project is served, after waiting for it if it is still loading.

        Args:
            timeout: seconds to wait.
            project: its id; None: one that is served the default.

        Raises:
            Refusal: there is no model yet, none at all, or it could not be loaded.
        """
        self.look()
        deadline = time.monotonic() + timeout
        with self._changed:
            while (version := self._choose(project)) is not None:
                known = self._versions[version]
                if known.segmenter is not None:
                    self._use(known)
                    return known.segmenter
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    break
            raise self._unavailable(project)

    def require(self, project: int | None = None) -> str:
        """Return the announced version.

        Raises:
            Refusal: there is none, or it could not be loaded.
        """
        version = self.announced(project)
        if version is None:
            with self._changed:
                raise self._unavailable(project)
        return version

    def _notice(self, before: Served | None, served: Served) -> None:
        """Begin to load what is served now and was not before; who is answered by something goes on being so."""
        projects = {*served.projects, *(before.projects if before else ())}
        changed = [one for one in sorted(projects) if before is None or before.version(one) != served.version(one)]
        for project in changed:
            answered = before.version(project) if before else None
            if before is None or answered is None or project in self._answering:
                continue
            self._answering[project] = self._answering.get(None, answered) if not before.own(project) else answered
        self._choose(None)
        for project in changed[: self._most - 1]:
            self._choose(project)

    def _choose(self, project: int | None) -> str | None:
        """Return the version that answers a project, after beginning to load it where it is not there."""
        served = self._served or Served()
        key = project if served.own(project) is not None or project in self._answering else None
        answering = self._answering.get(key)
        wanted = served.version(project) or answering
        if wanted is None:
            return None
        if self._is_ready(wanted):
            self._answering[key] = wanted
            if key is not None and served.own(key) is None:
                del self._answering[key]  # it is served the default again
            return wanted
        self._begin(wanted)
        if answering is not None and self._is_ready(answering):
            return answering
        if self._versions[wanted].loading:
            return wanted
        if answering is None or answering == wanted:
            return None
        # what is wanted cannot be loaded, and what answered so far was unloaded
        self._begin(answering)
        return answering if self._versions[answering].loading else None

    def _is_ready(self, version: str) -> bool:
        known = self._versions.get(version)
        return known is not None and known.segmenter is not None

    def _use(self, version: _Version) -> None:
        self._uses += 1
        version.used = self._uses

    def _begin(self, version: str) -> None:
        """Load a version in a thread, unless it is loading or failed a moment ago."""
        known = self._versions.get(version)
        if known is not None and (known.loading or time.monotonic() < known.retry_at):
            return
        self._versions[version] = _Version()
        threading.Thread(target=self._load, args=(version,), name="maskloop-load", daemon=True).start()

    def _unavailable(self, project: int | None) -> Refusal:
        served = self._served or Served()
        version = served.version(project)
        known = self._versions.get(version) if version is not None else None
        if known is not None and known.loading:
            return Refusal(503, f"Model {version} is still loading, try again in a minute", headers=_retry(30))
        if known is not None and known.error is not None:
            return Refusal(503, f"The model cannot be loaded: {known.error}")
        if self._unreadable is not None:
            return Refusal(503, f"The model cannot be loaded: {self._unreadable}")
        if project is not None and served.projects:
            return Refusal(
                503,
                f"No model version is served to project {project} yet, and none by default: choose one with "
                f"`maskloop models promote VERSION --project {project}`",
            )
        return Refusal(
            503, "No model version is served yet: run `maskloop train`, or choose one with `maskloop models`"
        )

    def _load(self, version: str) -> None:
        with self._one_at_a_time:
            with self._changed:
                if version not in (self._served or Served()).versions | set(self._answering.values()):
                    # another one was promoted while this one waited for its turn
                    del self._versions[version]
                    self._changed.notify_all()
                    return
            started = time.perf_counter()
            log(logging.INFO, "model_loading", version=version)
            try:
                segmenter = self.source.load(version)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a file or a runtime, the server lives on
                self._metrics.model_loads.labels("failed").inc()
                log(logging.ERROR, "model_load_failed", version=version, error=f"{type(error).__name__}: {error}")
                with self._changed:
                    known = self._versions[version]
                    known.error, known.retry_at = str(error), time.monotonic() + RETRY_INTERVAL
                    self._changed.notify_all()
                return
            self._metrics.model_loads.labels("loaded").inc()
            with self._changed:
                known = self._versions[version]
                known.segmenter = segmenter
                self._use(known)
                self._metrics.model_info.labels(version).set(1)
                unloaded = self._unload()
                self._changed.notify_all()
        log(logging.INFO, "model_ready", version=version, seconds=time.perf_counter() - started)
        for name in unloaded:
            log(logging.INFO, "model_unloaded", version=name, reason=f"{self._most} others were used since")

    def _unload(self) -> Sequence[str]:
        """Forget the least recently used versions beyond the most; return their names."""
        loaded = [name for name, version in self._versions.items() if version.segmenter is not None]
        loaded.sort(key=lambda name: self._versions[name].used)
        gone = loaded[: max(0, len(loaded) - self._most)]
        for name in gone:
            del self._versions[name]
            self._metrics.model_info.remove(name)
        return gone


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
