"""What the server says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from maskloop_backend.serving import schemas
from maskloop_backend.serving.auth import Credentials
from maskloop_backend.serving.openapi import document


@pytest.mark.parametrize("auth", [False, True])
def test_openapi_is_valid(auth: bool) -> None:
    described = document(auth=auth)
    OpenAPIV31SpecValidator(described).validate()
    assert ("security" in described) is auth
    used = str(described)
    assert all(f"schemas/{name}'" in used for name in described["components"]["schemas"])


def test_openapi_names_every_endpoint_and_every_status(start: Any) -> None:
    client = start()
    described = client.request("GET", "/openapi.json").json
    assert described == document(auth=False)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            body = {"nonsense": 1} if method == "post" else None
            answer = client.request(method.upper(), path, body)
            assert str(answer.status) in operation["responses"], path


def test_metrics_are_prometheus_text(start: Any, image_uri: Any) -> None:
    client = start()
    client.predict([image_uri(), "data:image/png;base64,AAAA"])
    client.request("GET", "/nowhere")
    client.request("POST", "/webhook", {"action": "SOMETHING_NEW"})
    client.request("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 1}})
    answer = client.request("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["maskloop_requests_total", ("endpoint", "/predict"), ("status", "200")] == 1
    assert samples["maskloop_requests_total", ("endpoint", "other"), ("status", "404")] == 1
    assert samples["maskloop_tasks_total", ("outcome", "predicted")] == 1
    assert samples["maskloop_tasks_total", ("outcome", "image_failed")] == 1
    assert samples["maskloop_webhook_events_total", ("action", "other")] == 1
    assert samples["maskloop_jobs", ("state", "queued")] == 1
    assert samples["maskloop_jobs", ("state", "running")] == 0
    assert samples["maskloop_batch_images_count",] == 1
    assert samples["maskloop_model_info", ("version", "fcn32s-small-20261122-00000001")] == 1


def test_two_servers_count_apart(start: Any, image_uri: Any) -> None:
    one, other = start(), start(credentials=Credentials("a", "b"))
    one.predict([image_uri()])
    assert one.metric("maskloop_tasks_total", outcome="predicted") == 1
    assert other.metric("maskloop_tasks_total", outcome="predicted") == 0


def test_fields_that_name_models_are_no_trouble_to_older_pydantic() -> None:
    """Before 2.10 the whole namespace model_ is protected: a warning at the first import."""
    found = [one for one in vars(schemas).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    named = [one for one in found if any(name.startswith("model_") for name in one.model_fields)]
    assert {one.__name__ for one in named} >= {"SetupResponse", "HealthResponse"}
    assert all(one.model_config.get("protected_namespaces") == () for one in named)
