"""GET /batches: how far `maskloop label` is, whoever runs it in this home."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from maskloop_backend.batch.status import BatchStatus
from maskloop_backend.serving.schemas import BatchesResponse


def test_labellings_are_told_with_the_reasons_of_what_failed(start: Any, tmp_path: Path) -> None:
    client = start()
    assert client.request("GET", "/batches").json == {"batches": []}
    with closing(BatchStatus(tmp_path / "home")) as status:
        number = status.begin("project:7", "project:7", "v1", 3, [1, 2, 3])
        status.tasks(number, {1: ("done", None), 2: ("failed", "task 2: damaged")})
        status.count(number, 1, 1)
    answer = client.request("GET", "/batches").json
    BatchesResponse.model_validate(answer)
    (told,) = answer["batches"]
    assert (told["state"], told["done"], told["failed"]) == ("running", 1, 1)
    assert told["tasks"] == {"queued": 1, "done": 1, "failed": 1}
    assert told["reasons"] == [{"task": 2, "reason": "task 2: damaged"}]
    with closing(BatchStatus(tmp_path / "home")) as status:
        assert status.begin("project:7", "project:7", "v1", 3, [2, 3]) == number
    assert client.request("GET", "/batches").json["batches"][0]["tasks"] == {"queued": 2, "done": 1}
