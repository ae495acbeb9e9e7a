"""The served model version for whoever runs label-studio-ml: `label-studio-ml start backend`.

`maskloop serve` does more (batches, cache, keep-alive, reasons); this is the same predictor behind another HTTP server.
Works under label-studio-ml 2.x and 1.0.9.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from maskloop_backend.serving.app import Server
from maskloop_backend.serving.models import RegistrySource
from maskloop_backend.serving.settings import Settings
from maskloop_backend.studio.addresses import AddressPolicy


@cache
def server() -> Server:
    """Return the model and what it needs, once a process; label-studio-ml makes a new object for every request."""
    home = Path(os.environ.get("MASKLOOP_HOME", Path.home() / ".maskloop"))
    url = os.environ.get("MASKLOOP_STUDIO_URL") or os.environ.get("LABEL_STUDIO_URL")
    token = os.environ.get("MASKLOOP_STUDIO_TOKEN") or os.environ.get("LABEL_STUDIO_API_KEY")
    deny = os.environ.get("MASKLOOP_DENY_PRIVATE", "").lower() in ("1", "true", "yes", "on")
    policy = AddressPolicy.parse([os.environ.get("MASKLOOP_ALLOW_HOSTS", "")], deny, url)
    return Server(RegistrySource(home), Settings(home=home, studio_url=url, studio_token=token, policy=policy))


class MaskloopModel(LabelStudioMLBase):  # type: ignore[misc]
    """Answers with maskloop's predictions."""

    def setup(self) -> None:
        """Tell label-studio-ml 2.x the version that /setup must answer."""
        self.set("model_version", server().models.require())

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **_: Any) -> list[Any]:
        """Return one prediction a task, [] where its image failed."""
        results = server().answer(tasks, self.label_config, getattr(self, "project_id", None), context)
        if not hasattr(LabelStudioMLBase, "setup"):
            # 1.0.9 names versions itself in /setup; Label Studio stores duplicates when predictions say otherwise.
            for result in results:
                if result:
                    del result["model_version"]
        return results
