"""The served model version for whoever runs label-studio-ml: `label-studio-ml start backend`.

`maskloop serve` does more: batches across requests, keep-alive while 250 tasks are computed, reasons that annotators can
read, basic auth. This is the same predictor, with the same versions and trainings, behind label-studio-ml's own server:
2.x from its repository, or PyPI's 1.0.9, whose manager of models is replaced by :class:`Manager`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from label_studio_ml import model as label_studio_ml_model
from label_studio_ml.model import LabelStudioMLBase

from maskloop_backend.serving.models import RegistrySource
from maskloop_backend.serving.projects import project_number
from maskloop_backend.serving.schemas import WebhookRequest
from maskloop_backend.serving.service import Server
from maskloop_backend.serving.settings import Settings
from maskloop_backend.studio.addresses import AddressPolicy

# 2.x asks the model class for its version in setup(); 1.0.9 has a manager of its own for versions, trainings and models.
HAS_SETUP = hasattr(LabelStudioMLBase, "setup")
LIMITS_OF_1_0 = (
    "maskloop behind label-studio-ml 1.0.9, which has no basic auth, shows annotators no reasons, and sends nothing while "
    "it computes: Label Studio gives up after its own timeout. `maskloop serve` has all of that."
)


@cache
def server() -> Server:
    """Return the model and what it needs, once a process; label-studio-ml makes a new object for every request."""
    home = Path(os.environ.get("MASKLOOP_HOME", Path.home() / ".maskloop"))
    url = os.environ.get("MASKLOOP_STUDIO_URL") or os.environ.get("LABEL_STUDIO_URL")
    token = os.environ.get("MASKLOOP_STUDIO_TOKEN") or os.environ.get("LABEL_STUDIO_API_KEY")
    deny = os.environ.get("MASKLOOP_DENY_PRIVATE", "").lower() in ("1", "true", "yes", "on")
    policy = AddressPolicy.parse([os.environ.get("MASKLOOP_ALLOW_HOSTS", "")], deny, url)
    runtime: Any = os.environ.get("MASKLOOP_RUNTIME") or "auto"
    precision: Any = os.environ.get("MASKLOOP_PRECISION") or "auto"
    source = RegistrySource(home, runtime=runtime, precision=precision)
    return Server(source, Settings(home=home, studio_url=url, studio_token=token, policy=policy))


class MaskloopModel(LabelStudioMLBase):  # type: ignore[misc]
    """Answers with maskloop's predictions."""

    def setup(self) -> None:
        """Tell label-studio-ml 2.x the version that /setup must answer."""
        self.set("model_version", server().models.require(project_number(getattr(self, "project_id", None))))

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **_: Any) -> list[Any]:
        """Return one prediction a task, [] where its image failed."""
        return server().answer(tasks, self.label_config, getattr(self, "project_id", None), context)


class Manager(getattr(label_studio_ml_model, "LabelStudioMLManager", object)):  # type: ignore[misc]
    """1.0.9's manager with maskloop's versions and trainings in place of its own.

    Its own one names every version 'INITIAL' until it has trained, holds one label config for all projects, and trains
    in a process that is forked from the server.
    """

    @classmethod
    def fetch(
        cls, project: Any = None, label_config: str | None = None, force_reload: bool = False, **said: Any
    ) -> Any:
        """Answer /setup: remember the project and return the version that it gets."""
        version, _ = server().setup(project, label_config or "", said.get("hostname"), said.get("access_token"))
        return cls._named(version)

    @classmethod
    def predict(
        cls,
        tasks: list[dict[str, Any]],
        project: Any = None,
        label_config: str | None = None,
        force_reload: bool = False,
        try_fetch: bool = True,
        **params: Any,
    ) -> tuple[list[Any], Any]:
        """Answer /predict: the predictions and the version they are of."""
        results = server().answer(tasks, label_config or "", project, params.get("context"))
        named = (result["model_version"] for result in results if result)
        return results, cls._named(next(named, None) or server().models.require(project_number(project)))

    @classmethod
    def webhook(cls, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """Answer /webhook: trainings are queued, one runs at a time, and only a better version is served."""
        job = server().notice(WebhookRequest.model_validate({**data, "action": event}))
        return {"job_id": job.id if job else None}

    @classmethod
    def is_training(cls, project: Any) -> dict[str, Any]:
        """Answer /is_training."""
        return {"is_training": server().queue.counts().get("running", 0) > 0, "backend": "maskloop"}

    @classmethod
    def _get_models_from_workdir(cls, project: Any) -> list[str]:
        """Answer /versions."""
        return server().versions(project)

    @staticmethod
    def _named(version: str) -> Any:
        return label_studio_ml_model.ModelWrapper(model=None, model_version=version)
