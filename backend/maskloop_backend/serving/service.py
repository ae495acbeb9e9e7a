"""What answers, whatever the transport: the model, the pipeline and what is remembered of Label Studio."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import Any

import orjson

from ..loop.label_configs import LabelConfigs
from ..loop.outcome_store import OutcomeError, OutcomeStore
from ..loop.outcomes import Outcome as TaskOutcome
from ..loop.queue import ACTIONS, JOBS_FILE, OTHER_ACTION, JobQueue
from ..loop.queue import Job as TrainingJob
from ..loop.worker import Studio, Worker
from ..studio.label_config import LabelMapping
from ..studio.login import BackendLogin
from ..studio.predictions import PredictionOptions
from . import schemas
from .batching import Batcher
from .cache import PredictionCache
from .limits import Refusal
from .live import Live
from .logs import log
from .metrics import Metrics
from .models import Models, ModelSource
from .observing import Observer
from .page.gallery import Gallery
from .pipeline import Job, Pipeline
from .projects import Projects, project_id, project_number
from .rollouts import Rollouts
from .settings import Settings

# Of a project's id in lists that are kept.
LONGEST_ID = 40


def known_action(event: schemas.WebhookRequest) -> str:
    """Return the action of an event as it is counted and logged."""
    return event.action if event.action in ACTIONS else OTHER_ACTION


class Admission:
    """How many predict requests may hold a worker thread at once; the other threads stay free for short calls."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._changed = threading.Condition()
        self._running = 0
        self._many = 0
        self._closed = False

    def enter(self, *, many: bool = False) -> None:
        """Take a place.

        Args:
            many: for a request of many tasks, which may take long; these leave half of the places to single tasks.

        Raises:
            Refusal: all are taken, or the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Refusal(503, "The server is stopping, try again in a moment", headers={"Retry-After": "10"})
            limit, what = (max(1, self._limit // 2), "many tasks") if many else (self._limit, "predictions")
            if (self._many if many else self._running) >= limit:
                raise Refusal(
                    503, f"{limit} requests for {what} are running already, try again", headers={"Retry-After": "5"}
                )
            self._running += 1
            self._many += many
            self._metrics.predicting.set(self._running)

    def leave(self, *, many: bool = False) -> None:
        """Give the place back."""
        with self._changed:
            self._running -= 1
            self._many -= many
            self._metrics.predicting.set(self._running)
            self._changed.notify_all()

    def give_way(self, seconds: float) -> None:
        """Wait while requests are inside, so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0 or self._closed, seconds)

    def close(self, timeout: float) -> bool:
        """Let nobody in any more and wait for those inside; return whether all left in time."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._running == 0, timeout)


class Server:
    """What the resources share: the model, the pipeline and what is remembered of Label Studio."""

    def __init__(self, models: ModelSource, settings: Settings, options: PredictionOptions | None = None) -> None:
        self.settings = settings
        self.options = options or PredictionOptions()
        self.metrics = Metrics()
        self.models = Models(models, self.metrics, settings.models_in_memory)
        self.label_configs = LabelConfigs(settings.home)
        self.projects = Projects(
            studio_url=settings.studio_url,
            studio_token=settings.studio_token,
            policy=settings.policy,
            fetch_seconds=settings.fetch_seconds,
        )
        self.queue = JobQueue(
            settings.home, train_after=settings.train_after if settings.training else None, quiet=settings.quiet
        )
        self.worker = Worker(
            self.queue,
            self.studio,
            effort=settings.effort,
            command=settings.training_command,
            rollout=settings.rollout,
            finished=self._training_over,
        )
        credentials = settings.credentials
        login = BackendLogin(credentials.user, credentials.password) if credentials else None
        self.rollouts = Rollouts(self.queue, self.studio, login)
        self.gallery = Gallery()
        self.observer = Observer(_outcome_store(settings), self.metrics, self._noticed)
        self.draining = False
        self.batcher = Batcher(
            batch_size=settings.batch_size,
            batch_pixels=settings.batch_pixels,
            wait=settings.batch_wait,
            metrics=self.metrics,
        )
        self.pipeline = Pipeline(
            cache=PredictionCache(settings.cache_bytes, self.metrics),
            batcher=self.batcher,
            fetchers=settings.fetchers,
            # two batches and what is being fetched: the model never waits for images, memory stays bounded
            window=2 * settings.batch_size + settings.fetchers,
            keepalive=settings.keepalive,
            metrics=self.metrics,
            image_bytes=settings.image_bytes,
            studio_url=settings.studio_url,
            gallery=self.gallery,
        )
        self.admission = Admission(max(1, settings.threads - settings.reserved_threads), self.metrics)
        self.live: Live | None = None
        if settings.live:
            self.live = Live(
                settings.home,
                self.models.announced,
                self.studio,
                self.projects.fetcher,
                self.admission.give_way,
            )
            self.live.start()
        self.models.look()
        if settings.training:
            self.worker.start()
            if settings.rollout:
                self.rollouts.start()

    def studio(self, project: int) -> Studio | str:
        """Return how to reach a project's Label Studio, or what is missing for that."""
        connection = self.projects.connection(project)
        if connection.url and connection.token:
            return Studio(connection.url, connection.token, self.settings.policy)
        missing = "token" if connection.url else "address" if connection.token else "address and token"
        return (
            f"the {missing} of Label Studio: give --studio-url and MASKLOOP_STUDIO_TOKEN to `maskloop serve`, or open "
            "the project's model settings in Label Studio, which tells both"
        )

    def _training_over(self, job: TrainingJob) -> None:
        self.metrics.jobs_over.labels(job.state).inc()
        if job.started is not None and job.finished is not None:
            self.metrics.job_seconds.observe(job.finished - job.started)
        self.rollouts.wake()

    def job(
        self, tasks: list[dict[str, Any]], label_config: str | None, project: Any, context: dict[str, Any] | None
    ) -> Job:
        """Return a checked request for predictions, after waiting for the model.

        Args:
            tasks: as Label Studio sends them.
            label_config: XML; None takes what the project's last /setup said.
            project: as Label Studio sends it, '5.1795333547'.
            context: a smart tool's clicks or box, None without one.

        Raises:
            Refusal: no label config, one that does not fit the model, or no model.
        """
        xml = label_config or self.projects.schema(project)
        if not xml:
            raise Refusal(400, "label_config is missing and /setup has not been called for this project")
        # What can be known before the model is there is checked before: a wrong label config must not wait for it.
        number = project_number(project)
        announced = self.models.require(number)
        self.projects.mapping(xml, announced, self.models.labels(announced))
        self._note(project, xml)
        served = self.models.get(self.settings.model_wait, number)
        segmenter = served if self.live is None else self.live.of(number, served)
        try:
            mapping = self.projects.mapping(xml, segmenter.version, segmenter.labels)
        except Refusal:
            # a live version of labels that the project had a moment ago
            if segmenter is served:
                raise
            segmenter, mapping = served, self.projects.mapping(xml, served.version, served.labels)
        fetcher = self.projects.fetcher(project)
        return Job(tasks, segmenter, mapping, fetcher, context, self.options, project_id(project)[:LONGEST_ID])

    def answer(
        self, tasks: list[dict[str, Any]], label_config: str, project: Any, context: dict[str, Any] | None = None
    ) -> list[Any]:
        """Return one prediction a task as plain JSON values, [] where its image failed; see :meth:`job`."""
        outcomes = self.pipeline.run(self.job(tasks, label_config, project, context))
        return [orjson.loads(outcome.body) for outcome in outcomes if outcome is not None]

    def runs(self) -> dict[str, str | None]:
        """Return what runs the model, and why."""
        return {"runtime": self.models.runtime, "runtime_reason": self.models.runtime_reason}

    def setup(
        self, project: Any, label_config: str, hostname: str | None, token: str | None
    ) -> tuple[str, LabelMapping]:
        """Remember what Label Studio says of a project; return the version that it gets and how its labels fit.

        Args:
            project: as Label Studio sends it, '5.1795333547'.
            label_config: XML.
            hostname: where Label Studio says it is.
            token: of the project's owner.

        Raises:
            Refusal: a label config that cannot be read or fits nothing, or no model.
        """
        # nothing is remembered of what is no label config
        self.projects.config(label_config)
        self.projects.remember(project, schema=label_config, hostname=hostname, token=token)
        self._note(project, label_config)
        # a training may have waited for the token
        self.worker.wake()
        number = project_number(project)
        version = self.models.require(number)
        mapping = self.projects.mapping(label_config, version, self.models.labels(version))
        if self.live is not None:
            self.live.expect(number)
            version = self.live.version(number, version)
        return version, mapping

    def _note(self, project: Any, label_config: str) -> None:
        """Keep a project's label config: no version may be promoted that lacks what it uses."""
        number = project_number(project)
        if number is None:
            return
        try:
            self.label_configs.remember(number, label_config)
        except OSError as error:
            log(logging.ERROR, "label_config_not_kept", project=number, error=error)

    def notice(self, event: schemas.WebhookRequest) -> TrainingJob | None:
        """Take in a webhook's event; return the project's job that waits or runs, None where there is none.

        Raises:
            Refusal: a training is wanted of a server that does not train, or the event could not be stored.
        """
        if event.action == "START_TRAINING" and not self.settings.training:
            raise Refusal(409, "This backend does not train: it was started with --no-training")
        try:
            job = self.queue.notice(event.model_dump(exclude_unset=True))
        except sqlite3.Error as error:
            fix = f"if it stays so, stop the server and move {JOBS_FILE} away"
            raise Refusal(507, f"The event could not be stored: {error}; {fix}") from error
        self.worker.wake()
        self.metrics.events.labels(known_action(event)).inc()
        if self.live is not None:
            self.live.notice(event.action, event.project_number, event.annotated)
        return job

    def versions(self, project: Any = None) -> list[str]:
        """Return the names of all versions, first the one that a project is served, or the default."""
        version = self.models.announced(project_number(project))
        others = [name for name in self.models.source.versions() if name != version]
        return others if version is None else [version, *others]

    def _noticed(self, outcome: TaskOutcome) -> None:
        share = outcome.off / outcome.pixels if outcome.pixels else 0.0
        self.gallery.submitted(str(outcome.project), str(outcome.task), share)

    def unready(self) -> str | None:
        """Return why no further requests should be sent here, None where they may.

        A server without a model is ready: it answers at once, with what is missing.
        """
        if self.draining:
            return "The server is stopping"
        self.models.look()
        return "The first model is loading" if self.models.state == "loading" else None

    def drain(self, timeout: float) -> bool:
        """Refuse new predictions and wait for the running ones; return whether they ended in time."""
        return self.admission.close(timeout)

    def close(self) -> None:
        """Stop the threads and close the queue; a training that runs goes on."""
        self.draining = True
        self.admission.close(0)
        if self.live is not None:
            self.live.close()
        self.worker.stop()
        self.rollouts.stop()
        self.batcher.close()
        self.pipeline.close()
        self.observer.close()
        self.queue.close()


def _outcome_store(settings: Settings) -> OutcomeStore | OutcomeError:
    try:
        return OutcomeStore(settings.home)
    except OutcomeError as error:
        # a damaged statistic must not keep anybody from predicting
        log(logging.ERROR, "outcomes_not_kept", error=error)
        return error
