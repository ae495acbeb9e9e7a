"""Each project is answered by its own version, and by no other's; few versions are in memory at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskloop_backend.inference.prediction import Prediction, Segmenter
from maskloop_backend.loop.label_configs import LabelConfigs
from maskloop_backend.registry.history import Served, Serving
from maskloop_backend.serving import models
from maskloop_backend.serving.limits import Refusal
from maskloop_backend.serving.metrics import Metrics
from maskloop_backend.serving.models import Models
from maskloop_converters.samples import LabelSet

COMMON, STREET, WOOD = (f"fcn32s-small-20261122-0000000{number}" for number in (1, 2, 3))
LABELS = {
    COMMON: ("road", "car"),
    STREET: ("road", "tram"),
    WOOD: ("tree", "car"),
}


class Whole:
    """Predicts its last class everywhere."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.labels = LabelSet.from_names(LABELS[version])

    def predict(self, images: Sequence[NDArray[Any]]) -> list[Prediction]:
        maps = [np.full(image.shape[:2], 1, np.uint8) for image in images]
        return [Prediction(one, np.full(one.shape, 204, np.uint8), 0.8) for one in maps]


class Source:
    """Versions that load at once, or when a gate is opened; it counts."""

    def __init__(self, served: Served) -> None:
        self.now = served
        self.loads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[str] = set()

    def served(self) -> Served:
        return self.now

    def versions(self) -> list[str]:
        return sorted(LABELS)

    def labels(self, version: str) -> LabelSet:
        return LabelSet.from_names(LABELS[version])

    def load(self, version: str) -> Segmenter:
        self.loads.append(version)
        assert self.gate.wait(60)
        if version in self.broken:
            raise MemoryError("no room for it")
        return Whole(version)


def promoted(**versions: str) -> Served:
    """Return what is served: ``default`` and ``p7`` for project 7."""
    default = versions.pop("default", None)
    projects = {int(name[1:]): Serving(version, (None,)) for name, version in versions.items()}
    return Served(None if default is None else Serving(default), projects)


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LOOK_INTERVAL", 0.0)


def config(*names: str) -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="tag" toName="image">{labels}</BrushLabels></View>'
    )


def version_of(client: Any, image: str, project: int, *names: str) -> tuple[str, set[str]]:
    answer = client.predict([image], project=f"{project}.1795333547", label_config=config(*names))
    assert answer.status == 200, answer.reason
    (result,) = answer.json["results"]
    return result["model_version"], {region["value"]["brushlabels"][0] for region in result["result"]}


def test_two_projects_get_their_own_masks(start: Any, image_uri: Any, tmp_path: Path) -> None:
    client = start(Source(promoted(default=COMMON, p7=STREET, p8=WOOD)))
    image = image_uri()
    assert version_of(client, image, 7, "road", "tram") == (STREET, {"tram"})
    assert version_of(client, image, 8, "tree", "car") == (WOOD, {"car"})
    assert version_of(client, image, 9, "road", "car") == (COMMON, {"car"})

    def setup(project: int, *names: str) -> Any:
        body = {"project": f"{project}.1", "schema": config(*names), "hostname": "", "access_token": ""}
        return client.request("POST", "/setup", body).json

    said = [setup(7, "road", "tram"), setup(8, "tree"), setup(9, "road")]
    assert [(one["model_version"], one["own_version"]) for one in said] == [
        (STREET, True),
        (WOOD, True),
        (COMMON, False),
    ]
    assert said[1]["missing_labels"] == ["car"]
    health = client.request("GET", "/health").json
    assert (health["model_version"], health["projects"]) == (COMMON, {"7": STREET, "8": WOOD})
    first = [
        client.request("GET", f"/versions{query}").json["versions"][0] for query in ("", "?project=7", "?project=9")
    ]
    assert first == [COMMON, STREET, COMMON]
    for version in LABELS:
        assert client.metric("maskloop_model_info", version=version) == 1
    # what they use is known to trainings in other processes
    assert set(LabelConfigs(tmp_path / "home").known()) == {7, 8, 9}


def test_a_project_is_never_answered_by_anothers_version(image_uri: Any) -> None:
    """Not even while its own is loading, when the server was just started."""
    source = Source(promoted(default=COMMON, p7=STREET))
    source.gate.clear()
    served = Models(source, Metrics())
    assert served.announced() == COMMON
    assert served.announced(7) == STREET
    with pytest.raises(Refusal, match=f"Model {STREET} is still loading"):
        served.get(0.01, 7)
    source.gate.set()
    assert served.get(60, 7).version == STREET
    assert served.get(60).version == served.get(60, 9).version == COMMON


def test_the_version_before_answers_while_the_new_one_loads() -> None:
    source = Source(promoted(default=COMMON))
    served = Models(source, Metrics())
    assert served.get(60, 7).version == COMMON
    source.gate.clear()
    source.now = promoted(default=COMMON, p7=STREET)
    assert served.announced(7) == COMMON == served.get(0, 7).version
    source.gate.set()
    while served.announced(7) != STREET:
        threading.Event().wait(0.001)
    assert served.get(0, 7).version == STREET
    assert served.get(0, 8).version == COMMON
    # and back: it gives up its own
    source.now = Served(Serving(COMMON), {7: Serving(None, (None, STREET))})
    assert served.announced(7) == COMMON == served.get(0, 7).version
    assert source.loads == [COMMON, STREET]


def test_a_version_that_cannot_be_loaded_is_its_projects_trouble_alone() -> None:
    source = Source(promoted(default=COMMON))
    source.broken = {STREET, WOOD}
    metrics = Metrics()
    served = Models(source, metrics)
    served.get(60, 7)
    source.now = promoted(default=COMMON, p7=STREET, p8=WOOD)
    served.announced(7), served.announced(8)
    while metrics.registry.get_sample_value("maskloop_model_loads_total", {"outcome": "failed"}) != 2:
        threading.Event().wait(0.001)
    # who was answered by the default goes on being answered by it
    assert served.get(0, 7).version == served.get(0, 8).version == served.get(0, 9).version == COMMON
    # a server that is started then has nothing else for them
    again = Models(source, metrics)
    with pytest.raises(Refusal, match="The model cannot be loaded: no room for it"):
        again.get(60, 7)
    assert again.get(60, 9).version == COMMON


def test_projects_of_one_version_share_it() -> None:
    source = Source(promoted(default=COMMON, p7=STREET, p8=STREET))
    served = Models(source, Metrics())
    assert served.get(60, 7) is served.get(60, 8)
    assert served.get(60, 9).version == COMMON
    assert sorted(source.loads) == [COMMON, STREET]


def test_few_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(promoted(default=COMMON, p7=STREET, p8=WOOD))
    metrics = Metrics()
    served = Models(source, metrics, most=2)

    def present() -> set[str]:
        return {v for v in LABELS if metrics.registry.get_sample_value("maskloop_model_info", {"version": v}) == 1}

    for project in (None, 7, 8):
        served.get(60, project)
    assert present() == {STREET, WOOD}  # the least recently used is gone
    assert served.announced() == COMMON  # and comes back when it is asked for
    assert served.get(60).version == COMMON
    assert present() == {WOOD, COMMON}
    served.get(0, 8)
    assert served.get(60, 7).version == STREET
    assert present() == {WOOD, STREET}


def test_a_version_that_was_unloaded_comes_back_where_the_new_one_is_broken() -> None:
    source = Source(promoted(p7=STREET, p8=WOOD))
    served = Models(source, Metrics(), most=1)
    served.get(60, 7)
    served.get(60, 8)
    source.broken = {COMMON}
    source.now = promoted(p7=COMMON, p8=WOOD)
    served.announced(7)
    while COMMON not in source.loads or served.announced(7) == COMMON:
        threading.Event().wait(0.001)
    assert served.get(60, 7).version == STREET


def test_without_any_version_the_refusal_says_how_to_choose_one() -> None:
    served = Models(Source(promoted(p7=STREET)), Metrics())
    assert served.announced() is None
    with pytest.raises(Refusal, match="No model version is served to project 8 yet, and none by default"):
        served.require(8)
    with pytest.raises(Refusal, match="No model version is served yet: run `maskloop train`"):
        Models(Source(promoted()), Metrics()).require(8)


@pytest.mark.parametrize("project", [None, "", "x.1", "../../etc.1", "١٢.1", "9" * 40])
def test_what_is_no_project_is_served_the_default(start: Any, image_uri: Any, tmp_path: Path, project: Any) -> None:
    client = start(Source(promoted(default=COMMON, p7=STREET)))
    answer = client.predict([image_uri()], project=project)
    assert answer.status == 200, answer.reason
    assert answer.json["results"][0]["model_version"] == COMMON
    assert LabelConfigs(tmp_path / "home").known() == {}
