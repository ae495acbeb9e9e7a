"""A version is promoted while annotators work: no request is dropped, no answer mixes versions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.inference.prediction import Prediction, Segmenter
from maskloop_backend.registry import Registry
from maskloop_backend.registry.history import Served
from maskloop_backend.serving import models
from maskloop_converters.codecs import studio_rle
from maskloop_converters.samples import LabelSet
from versions import write_version

HEIGHT, WIDTH = 20, 30


class Constant:
    """Its masks show which version made them: road left of a column, car right of it."""

    def __init__(self, version: str, column: int) -> None:
        self.version = version
        self.labels = LabelSet.from_names(["road", "car"])
        self._column = column

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
        label_map[:, self._column :] = 1
        return [Prediction(label_map, np.full((HEIGHT, WIDTH), 204, np.uint8), 0.8) for _ in images]


class Source:
    """The versions of a real registry, answered by segmenters that are quick to make; one cannot be loaded."""

    def __init__(self, registry: Registry, columns: dict[str, int]) -> None:
        self._registry = registry
        self._columns = columns
        self.broken: str | None = None

    def served(self) -> Served:
        return self._registry.served()

    def versions(self) -> list[str]:
        return self._registry.versions()

    def labels(self, version: str) -> LabelSet:
        return self._registry.record(version).labels

    def load(self, version: str) -> Segmenter:
        if version == self.broken:
            raise MemoryError("no room for it")
        self._registry.verify(version)
        return Constant(version, self._columns[version])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "home", trial=lambda directory: None)
    for weights in (b"one", b"other"):
        write_version(registry, weights, LabelSet.from_names(["road", "car"]))
    registry.promote(registry.versions()[0])
    return registry


def version_of(answer: Any, columns: dict[str, int], tasks: int) -> str:
    """Return the one version of an answer, after checking that it is whole and that its masks are that version's."""
    assert answer.status == 200, answer.reason
    results = answer.json["results"]
    assert len(results) == tasks
    (version,) = {result["model_version"] for result in results}
    for result in results:
        regions = {region["value"]["brushlabels"][0]: region["value"]["rle"] for region in result["result"]}
        car = studio_rle.decode([regions["car"]], HEIGHT, WIDTH).mask(0)
        assert (np.flatnonzero(car[0]) == np.arange(columns[version], WIDTH)).all()
    return str(version)


def test_promotion_and_rollback_under_load(
    start: Any, image_uri: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LOOK_INTERVAL", 0.0)
    old, new = registry.versions()
    columns = {old: 10, new: 20}
    client = start(Source(registry, columns))
    images = [image_uri(HEIGHT, WIDTH, bright) for bright in range(3)]
    reached = {version: threading.Semaphore(0) for version in columns}
    over = threading.Event()

    def annotate() -> list[str]:
        seen: list[str] = []
        while not over.is_set():
            seen.append(version_of(client.predict(images), columns, len(images)))
            reached[seen[-1]].release()
        return seen

    with ThreadPoolExecutor(6) as pool:
        annotators = [pool.submit(annotate) for _ in range(6)]
        try:
            switches = 5
            for number in range(switches):
                if number % 2:
                    registry.rollback()
                else:
                    registry.promote(new)
                wanted = registry.serving()
                while reached[str(wanted)].acquire(blocking=False):
                    pass
                for _ in range(12):
                    assert reached[str(wanted)].acquire(timeout=60)
        finally:
            over.set()
        for annotator in annotators:
            seen = annotator.result(60)
            changes = sum(one != other for one, other in pairwise(seen))
            assert changes <= switches, "an older version came back"
    assert client.metric("maskloop_tasks_total", outcome="model_failed") == 0


def test_a_version_that_cannot_be_loaded_changes_nothing(
    start: Any, image_uri: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LOOK_INTERVAL", 0.0)
    old, new = registry.versions()
    columns = {old: 10, new: 20}
    source = Source(registry, columns)
    source.broken = new
    client = start(source)
    registry.promote(new)
    while client.metric("maskloop_model_loads_total", outcome="failed") == 0:
        assert version_of(client.predict([image_uri(HEIGHT, WIDTH, 1)]), columns, 1) == old
    assert client.request("GET", "/health").json["model_version"] == old
