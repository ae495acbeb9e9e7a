"""Which model answers: found in the registry, loaded in the background, replaced without a restart."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from maskloop_converters.samples import LabelSet

from ..inference.prediction import Segmenter
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


class ModelSource(Protocol):
    """Where model versions come from."""

    def serving(self) -> str | None:
        """Return the version that should be served, None if there is none. Cheap: called about once a second."""
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
        self, home: Path, *, pinned: str | None = None, runtime: Name = "auto", precision: Precision = "auto"
    ) -> None:
        """Open the registry.

        Args:
            home: the directory that holds models.
            pinned: a version to serve whatever serving.json says.
            runtime: what runs the networks, see :func:`~..inference.runtimes.choosing.choose`.
            precision: what they compute in.
        """
        from ..registry.store import Registry

        self._registry = Registry(home)
        self._pinned = pinned
        self._runtime: Name = runtime
        self._precision: Precision = precision
        if pinned is not None:
            self._registry.record(pinned)

    def serving(self) -> str | None:
        """Return the pinned version, else the one that serving.json names."""
        return self._pinned or self._registry.serving()

    def versions(self) -> list[str]:
        """Return the registry's versions, newest first."""
        return list(reversed(self._registry.versions()))

    def labels(self, version: str) -> LabelSet:
        """Return the labels of a version's record."""
        return self._registry.record(version).labels

    def load(self, version: str) -> Segmenter:
        """Verify, load and compile a version, so that the first annotator does not wait for the compiler."""
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
        predictor = Predictor(bundle, runtime=choice.runtime)
        predictor.warm_up()
        return predictor


class FixedSource:
    """One segmenter that is in memory already."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def serving(self) -> str:
        """Return its version."""
        return self._segmenter.version

    def versions(self) -> list[str]:
        """Return its version."""
        return [self._segmenter.version]

    def labels(self, version: str) -> LabelSet:
        """Return its labels."""
        return self._segmenter.labels

    def load(self, version: str) -> Segmenter:
        """Return it."""
        return self._segmenter


class Models:
    """The served model.

    A version that is asked for is loaded in a thread of its own. While it loads, the version before it goes on
    answering, and what :meth:`announced` says always is what predictions will carry: Label Studio stores a duplicate
    at every open of a task when the two differ.
    """

    def __init__(self, source: ModelSource, metrics: Metrics) -> None:
        self.source = source
        self._metrics = metrics
        self._changed = threading.Condition()
        self._segmenter: Segmenter | None = None
        self._wanted: str | None = None
        self._loading = False
        self._error: str | None = None
        self._looked = float("-inf")
        self._retry_at = float("inf")

    @property
    def state(self) -> State:
        """Say whether there is a model, for /health."""
        with self._changed:
            if self._segmenter is not None:
                return "ready"
            if self._loading:
                return "loading"
            return "none" if self._error is None else "failed"

    @property
    def runtime(self) -> str | None:
        """Say what runs the model and in which precision ('openvino, bfloat16'), for /health; None: it does not say."""
        with self._changed:
            name, precision = (getattr(self._segmenter, field, None) for field in ("runtime", "precision"))
        return None if name is None else f"{name}, {precision}"

    def look(self) -> None:
        """Notice a changed serving version and begin to load it; returns at once."""
        now = time.monotonic()
        with self._changed:
            if now - self._looked < LOOK_INTERVAL or self._loading:
                return
            self._looked = now
            try:
                wanted = self.source.serving()
            except (OSError, ValueError) as error:
                # The version that is served goes on; a broken file must not take it down.
                self._error = str(error)
                log(logging.ERROR, "serving_version_unreadable", error=error)
                return
            if wanted is None or (wanted == self._wanted and now < self._retry_at):
                return
            self._wanted = wanted
            self._retry_at = float("inf")
            self._loading = True
        threading.Thread(target=self._load, args=(wanted,), name="maskloop-load", daemon=True).start()

    def announced(self) -> str | None:
        """Return the version that predictions will carry: the one that is loaded, else the one that is loading."""
        self.look()
        with self._changed:
            if self._segmenter is not None:
                return self._segmenter.version
            return self._wanted if self._loading else None

    def labels(self, version: str) -> LabelSet:
        """Return a version's labels, which are known before its weights are loaded."""
        with self._changed:
            if self._segmenter is not None and self._segmenter.version == version:
                return self._segmenter.labels
        return self.source.labels(version)

    def get(self, timeout: float) -> Segmenter:
        """Return the served model, after waiting for it if it is the first and still loading.

        Args:
            timeout: seconds to wait.

        Raises:
            Refusal: there is no model yet, none at all, or it could not be loaded.
        """
        self.look()
        with self._changed:
            self._changed.wait_for(lambda: self._segmenter is not None or not self._loading, timeout)
            if self._segmenter is not None:
                return self._segmenter
            raise self._unavailable()

    def require(self) -> str:
        """Return the announced version.

        Raises:
            Refusal: there is none, or it could not be loaded.
        """
        version = self.announced()
        if version is None:
            with self._changed:
                raise self._unavailable()
        return version

    def _unavailable(self) -> Refusal:
        if self._loading:
            return Refusal(503, f"Model {self._wanted} is still loading, try again in a minute", headers=_retry(30))
        if self._error is not None:
            return Refusal(503, f"The model cannot be loaded: {self._error}")
        return Refusal(
            503, "No model version is served yet: run `maskloop train`, or choose one with `maskloop models`"
        )

    def _load(self, version: str) -> None:
        started = time.perf_counter()
        log(logging.INFO, "model_loading", version=version)
        try:
            segmenter = self.source.load(version)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file or a runtime, the server lives on
            self._metrics.model_loads.labels("failed").inc()
            log(logging.ERROR, "model_load_failed", version=version, error=f"{type(error).__name__}: {error}")
            with self._changed:
                self._error = str(error)
                self._retry_at = time.monotonic() + RETRY_INTERVAL
                self._loading = False
                self._changed.notify_all()
            return
        self._metrics.model_loads.labels("loaded").inc()
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(version).set(1)
        with self._changed:
            self._segmenter = segmenter
            self._error = None
            self._loading = False
            self._changed.notify_all()
        log(logging.INFO, "model_ready", version=version, seconds=time.perf_counter() - started)


def _retry(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
