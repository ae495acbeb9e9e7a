"""The server's OpenAPI description, made of the same schemas that check the requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from maskloop_converters import __version__

from . import schemas

_REASONS = {
    "400": "Malformed JSON, or a field is missing or of the wrong type.",
    "401": "The basic-auth credentials are missing or wrong.",
    "404": "There is no such job.",
    "409": "The job is over already, or this backend does not train.",
    "413": "Body or number of tasks over the limit.",
    "415": "The content type is not application/json.",
    "422": "The label config has no masks, or none of the model's labels.",
    "424": "The image of a smart tool's task could not be fetched or read.",
    "500": "The server failed; its log says why.",
    "503": "No model yet, too many predictions wait, the server is stopping, or a file of the home directory cannot be read.",
    "507": "The event could not be stored.",
}

_NUMBER = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}


def document(*, auth: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Args:
        auth: whether the server asks for basic auth.
    """
    models = (
        schemas.SetupRequest,
        schemas.SetupResponse,
        schemas.PredictRequest,
        schemas.PredictResponse,
        schemas.WebhookRequest,
        schemas.WebhookResponse,
        schemas.JobsResponse,
        schemas.JobResponse,
        schemas.JobWithLogResponse,
        schemas.BatchesResponse,
        schemas.HealthResponse,
        schemas.ReadyResponse,
        schemas.StatsResponse,
        schemas.VersionsResponse,
        schemas.ErrorResponse,
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    errors = ["401"] if auth else []
    body_errors = [*errors, "400", "413", "415"]
    paths = {
        "/health": {"get": _operation("health", "The server lives", schemas.HealthResponse, errors=errors)},
        "/ready": {
            "get": _operation("ready", "Requests may be sent here", schemas.ReadyResponse, errors=[*errors, "503"])
        },
        "/stats": {
            "get": {
                **_operation(
                    "stats",
                    "Tell what became of predictions",
                    schemas.StatsResponse,
                    errors=[*errors, "400", "503"],
                ),
                "parameters": [
                    {
                        "name": "project",
                        "in": "query",
                        "description": "Label Studio's id; without it all projects together",
                        "schema": {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1},
                    }
                ],
            }
        },
        "/setup": {
            "post": _operation(
                "setup",
                "Tell a project's label config and where its Label Studio is; learn the model version",
                schemas.SetupResponse,
                request=schemas.SetupRequest,
                errors=[*body_errors, "422", "503"],
            )
        },
        "/predict": {
            "post": _operation(
                "predict",
                "Predict masks, one result a task; white space keeps a slow answer alive",
                schemas.PredictResponse,
                request=schemas.PredictRequest,
                errors=[*body_errors, "422", "424", "503"],
            )
        },
        "/webhook": {
            "post": _operation(
                "webhook",
                "Take in an event: corrections are counted, START_TRAINING and enough of them enqueue a training",
                schemas.WebhookResponse,
                request=schemas.WebhookRequest,
                status="201",
                errors=[*body_errors, "409", "503", "507"],
            )
        },
        "/jobs": {"get": _operation("jobs", "List the trainings", schemas.JobsResponse, errors=[*errors, "503"])},
        "/batches": {
            "get": _operation(
                "batches", "List the labellings of whole datasets", schemas.BatchesResponse, errors=[*errors, "503"]
            )
        },
        "/jobs/{number}": {
            "get": {
                **_operation(
                    "job",
                    "Show a training and its log",
                    schemas.JobWithLogResponse,
                    errors=[*errors, "400", "404", "503"],
                ),
                "parameters": [
                    _NUMBER,
                    {
                        "name": "log",
                        "in": "query",
                        "description": "bytes of the log's end",
                        "schema": {"type": "integer", "minimum": 0, "maximum": 1 << 20},
                    },
                ],
            },
            "delete": {
                **_operation(
                    "cancel",
                    "Cancel a training",
                    schemas.JobResponse,
                    status="202",
                    errors=[*errors, "404", "409", "503"],
                ),
                "parameters": [_NUMBER],
            },
        },
        "/versions": {
            "get": {
                **_operation("versions", "List the model versions", schemas.VersionsResponse, errors=errors),
                "parameters": [
                    {
                        "name": "project",
                        "in": "query",
                        "description": "its id; the version that it is served comes first, else the default",
                        "schema": {"type": "string"},
                    }
                ],
            }
        },
        "/metrics": {
            "get": _operation("metrics", "Prometheus metrics", None, content="text/plain", errors=errors),
        },
        "/openapi.json": {"get": _operation("openapi", "This document", None, errors=errors)},
    }
    components: dict[str, Any] = {"schemas": definitions["$defs"]}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "maskloop",
            "version": __version__,
            "summary": "A Label Studio machine-learning backend that pre-fills segmentation masks.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }
    if auth:
        components["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
        described["security"] = [{"basic": []}]
    return described


def _operation(
    name: str,
    summary: str,
    response: type[BaseModel] | None,
    *,
    request: type[BaseModel] | None = None,
    content: str = "application/json",
    status: str = "200",
    errors: list[str],
) -> dict[str, Any]:
    schema = {"type": "string" if content == "text/plain" else "object"} if response is None else _reference(response)
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            status: {"description": "Done.", "content": {content: {"schema": schema}}},
            **{
                code: {
                    "description": _REASONS[code],
                    "content": {"application/json": {"schema": _reference(schemas.ErrorResponse)}},
                }
                for code in sorted({*errors, "500"})
            },
        },
    }
    if request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(request)}},
        }
    return operation


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
