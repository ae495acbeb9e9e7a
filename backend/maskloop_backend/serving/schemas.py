"""The bodies that Label Studio 1.23.2 sends; keys that it may add later are let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Of those with fields called model_...: pydantic before 2.10 wants such names for itself, and warns.
_NAMES_MODELS = ConfigDict(protected_namespaces=())

# '<project id>.<unix time of creation>'
Project = Annotated[str, Field(max_length=100)] | Annotated[int, Field(ge=-(2**63), lt=2**63)] | None


def _only(*keys: str) -> Callable[[Any], Any]:
    """Return what drops all other keys of an object, or of each object of a list.

    Label Studio sends whole tasks, with the annotations and predictions of all versions; they must not fill the memory
    while a prediction is made.
    """

    def drop(value: Any) -> Any:
        if isinstance(value, list):
            return [drop(each) for each in value]
        return {key: value[key] for key in keys if key in value} if isinstance(value, dict) else value

    return drop


def _task(value: Any) -> Any:
    """Keep what is used of a task; an id that is none stays out, it would stand in logs and errors."""
    task = _only("id", "data")(value)
    if isinstance(task, dict) and not (isinstance(task.get("id"), int) or _short(task.get("id"))):
        task.pop("id", None)
    return task


def _short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 100


Task = Annotated[dict[str, Any], BeforeValidator(_task)]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None


class SetupRequest(BaseModel):
    """POST /setup: on connect, on every look at the settings page and before most predictions."""

    project: Project = Field(None, description="'<project id>.<unix time of creation>'")
    label_config: str = Field(alias="schema", description="The project's label config, XML.")
    hostname: str | None = Field(
        None, max_length=2000, description="Where Label Studio believes to answer; often wrong."
    )
    access_token: str | None = Field(
        None, max_length=10_000, description="A legacy token; a default install refuses it."
    )
    extra_params: Any = Field(None, description="Whatever the connection's extra_params hold.")


class PredictParams(BaseModel):
    """What comes beside the tasks."""

    context: dict[str, Any] | None = Field(
        None, description="A smart tool's clicks or box: {'result': [...]} as the editor sends it."
    )


class PredictRequest(BaseModel):
    """POST /predict: one task that is opened, a smart tool's click, or hundreds of tasks at once."""

    tasks: list[Task]
    project: Project = None
    label_config: str | None = Field(None, description="The project's label config, XML.")
    params: PredictParams | None = None


class WebhookRequest(BaseModel):
    """POST /webhook: something happened in Label Studio."""

    action: str = Field(min_length=1, max_length=100)
    project: Annotated[dict[str, Any] | None, BeforeValidator(_only("id"))] = None
    task: Annotated[dict[str, Any] | None, BeforeValidator(_only("id"))] = None
    annotation: Annotated[dict[str, Any] | None, BeforeValidator(_only("id", "task", "was_cancelled"))] = None
    annotations: Annotated[Any, BeforeValidator(_only("id", "task", "was_cancelled"))] = None
    tasks: Annotated[Any, BeforeValidator(_only("id"))] = None

    @property
    def project_number(self) -> int | None:
        """The project's id, None where the event names none."""
        return _number((self.project or {}).get("id"))

    @property
    def annotated(self) -> list[int]:
        """Ids of the tasks that the event's annotations belong to, as far as it names them."""
        several = self.annotations if isinstance(self.annotations, list) else []
        named = [(self.task or {}).get("id"), (self.annotation or {}).get("task")]
        named += [one.get("task") for one in several if isinstance(one, dict)]
        return sorted({number for number in map(_number, named) if number is not None})


class SetupResponse(BaseModel):
    """The version whose predictions the project will get, and what of its label config does not fit the model."""

    model_config = _NAMES_MODELS

    model_version: str
    missing_labels: list[str] = Field(description="classes of the model that no label of the project stands for")
    unused_labels: list[str] = Field(description="labels of the project that the model does not know")
    notes: list[str] = Field(description="what of the label config is not pre-filled or left alone, and why")
    own_version: bool = Field(description="the project has a version for itself; false: it is served the default")
    studio_url: str | None = Field(description="where task images are fetched; null when nobody has said")


class HealthResponse(BaseModel):
    """The server lives; ``model`` says whether it can predict yet."""

    model_config = _NAMES_MODELS

    status: str
    model_class: str
    model: str = Field(description="'none', 'loading', 'ready' or 'failed'")
    model_version: str | None = Field(description="the default: of all projects without a version of their own")
    projects: dict[str, str] = Field(description="the versions that projects have for themselves, by id")
    runtime: str | None = Field(
        description="what runs the model, and its precision: 'openvino, bfloat16'; null: none yet"
    )
    live: str | None = Field(description="whether live versions answer, 'on' or 'off'; null: started without --live")
    runtime_reason: str | None = Field(description="why that one: what was measured, or that it was asked for")


class ReadyResponse(BaseModel):
    """Requests may be sent here."""

    ready: bool


class OutcomeCounts(BaseModel):
    """What became of the predictions of some tasks."""

    tasks: int
    accepted: int = Field(description="submitted as they were predicted")
    changed: int
    rejected: int = Field(description="no region of the prediction was left")
    drawn: int = Field(description="there was no prediction")
    pixels: int = Field(description="that the prediction or the person gave a class, where masks could be compared")
    off: int = Field(description="of these, how many have another class, or none, in the other")


class VersionOutcomes(OutcomeCounts):
    """Of one version."""

    version: str | None


class WeekOutcomes(OutcomeCounts):
    """Of one week, ISO 8601."""

    week: str


class ClassOutcomes(BaseModel):
    """What became of one class."""

    label: str = Field(alias="class")
    kept: int = Field(description="regions left as predicted")
    changed: int = Field(description="predicted regions whose outline or label was changed")
    removed: int
    added: int = Field(description="regions drawn by hand")
    pixels: int
    off: int


class ClassWeekOutcomes(ClassOutcomes):
    """What became of one class in one week."""

    week: str


class TaskOutcome(BaseModel):
    """A task of which many pixels were changed."""

    project: int
    task: int
    version: str | None
    week: str
    kind: str
    pixels: int
    off: int
    share: float


class StatsResponse(BaseModel):
    """What became of predictions, as far as Label Studio's webhooks told; the newest weeks."""

    project: int | None = Field(description="of which; null: of all together")
    totals: OutcomeCounts
    versions: list[VersionOutcomes]
    weeks: list[WeekOutcomes]
    classes: list[ClassOutcomes]
    class_weeks: list[ClassWeekOutcomes]
    tasks: list[TaskOutcome] = Field(description="the most corrected ones")


class PredictResponse(BaseModel):
    """One entry a task, in order: a prediction, or [] for a task whose image could not be used."""

    results: list[dict[str, Any] | list[dict[str, Any]]]


class WebhookResponse(BaseModel):
    """The event was counted; what became of it."""

    status: str = Field(description="'recorded', or the state of the project's training, 'queued' or 'running'")
    job: int | None = Field(description="the project's training that waits or runs")


class JobProgress(BaseModel):
    """How far a training is."""

    phase: str
    step: int
    steps: int
    seconds_left: float | None
    miou: float | None
    resumed: int = Field(default=0, description="the step at which this process went on")
    kept: int = Field(default=0, description="the step of the last checkpoint")


class JobResponse(BaseModel):
    """One training of one project; times in UTC, ISO 8601."""

    id: int
    project: int
    state: str = Field(description="'queued', 'running', then 'done', 'failed' or 'cancelled'")
    reason: str = Field(description="why it was wanted")
    waits_for: str | None = Field(description="why it does not start although it is due")
    enqueued: str
    due: str = Field(description="it does not start before")
    started: str | None
    finished: str | None
    attempts: int = Field(
        description="how often it was started without getting further; more than 1 where something was killed"
    )
    cancel: bool = Field(description="somebody wants it to stop")
    error: str | None
    result: Any = Field(description="what `maskloop retrain --json` printed")
    progress: JobProgress | None


class JobWithLogResponse(JobResponse):
    """A training and the end of its log."""

    log: str


class JobsResponse(BaseModel):
    """The newest trainings, newest first."""

    jobs: list[JobResponse]


class FailedTask(BaseModel):
    """A task that has no prediction, and why."""

    task: int
    reason: str | None


class BatchResponse(BaseModel):
    """A labelling of a whole dataset or project by `maskloop label`."""

    id: int
    source: str
    destination: str
    version: str
    state: Literal["running", "done", "incomplete"]
    images: int
    done: int
    failed: int
    began: str
    changed: str
    tasks: dict[str, int]
    reasons: list[FailedTask]


class BatchesResponse(BaseModel):
    """All labellings of this home directory, the latest first."""

    batches: list[BatchResponse]


class VersionsResponse(BaseModel):
    """The model versions on disk, the served one first."""

    versions: list[str]
    message: str


class ErrorResponse(BaseModel):
    """What is wrong; the HTTP reason phrase says the same."""

    error: str
    status: int
