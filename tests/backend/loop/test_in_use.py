"""Which classes projects use, and that no version is promoted over them unawares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.loop import label_configs
from maskloop_backend.loop.in_use import lost
from maskloop_backend.loop.label_configs import LabelConfigs, used
from maskloop_backend.registry.store import Registry
from maskloop_converters.samples import LabelSet
from versions import write_version


def config(*labels: str) -> str:
    shown = "".join(f"<Label {label}/>" if "=" in label else f'<Label value="{label}"/>' for label in labels)
    return (
        f'<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">{shown}</BrushLabels></View>'
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, trial=lambda directory: None)


def version(registry: Registry, *names: str) -> str:
    return write_version(registry, " ".join(names).encode(), LabelSet.from_names(names)).version


def test_what_a_project_uses_of_a_version() -> None:
    labels = LabelSet.from_names(["sky", "car", "truck", "person", "pole"])
    xml = config("sky", 'value="Auto" predicted_values="car,truck"', "PERSON", "tram")
    assert used(xml, labels) == {
        "sky": frozenset({"sky"}),
        "car": frozenset({"Auto"}),
        "truck": frozenset({"Auto"}),
        "person": frozenset({"PERSON"}),
    }
    assert used(config("tram"), labels) == {}
    assert used("no xml", labels) == {}


def test_who_would_lose_what(registry: Registry) -> None:
    registry.promote(version(registry, "sky", "road", "tree"))
    known = LabelConfigs(registry.home)
    known.remember(3, config("sky", "tree"))
    known.remember(4, config("road"))
    known.remember(5, config("tree"))
    registry.promote(version(registry, "tree"), project=5)
    few = LabelSet.from_names(["sky", "road"])
    # of all that are served the default; project 5 has its own
    assert lost(registry, None, few) == ["project 3 uses tree, which the new version does not have"]
    assert lost(registry, None, LabelSet.from_names(["sky", "road", "tree"])) == []
    # of the one that it is for
    assert lost(registry, 4, few) == []
    assert lost(registry, 3, few) == ["project 3 uses tree, which the new version does not have"]
    # nothing is known of a project that was never seen
    assert lost(registry, 9, LabelSet.from_names(["x"])) == []
    assert lost(Registry(registry.home / "empty"), None, few) == []


def test_a_class_without_any_label_is_as_good_as_lost(registry: Registry) -> None:
    registry.promote(version(registry, "sky", "road", "tree"))
    LabelConfigs(registry.home).remember(3, config("sky", "tree"))
    same = LabelSet.from_names(["sky", "road", "tree"])
    (line,) = lost(registry, None, same, {"sky", "road"})
    assert line.startswith("project 3 uses tree, of which the training had no label")


def test_a_label_that_became_a_class_of_its_own_replaces_those_that_it_stood_for(registry: Registry) -> None:
    registry.promote(version(registry, "sky", "car", "truck"))
    LabelConfigs(registry.home).remember(3, config("sky", 'value="Auto" predicted_values="car,truck"'))
    assert lost(registry, 3, LabelSet.from_names(["sky", "Auto"])) == []
    assert lost(registry, 3, LabelSet.from_names(["sky", "car"])) == [
        "project 3 uses truck, which the new version does not have"
    ]


class TestLabelConfigs:
    def test_the_newest_is_kept_and_read_by_others(self, tmp_path: Path) -> None:
        known = LabelConfigs(tmp_path)
        for xml in (config("a"), config("ä"), config("ä")):
            assert known.remember(7, xml)
        assert LabelConfigs(tmp_path).known() == {7: config("ä")}
        assert LabelConfigs(tmp_path).forget(7)
        assert not known.forget(7)
        assert known.remember(7, config("ä"))
        assert LabelConfigs(tmp_path).known() == {7: config("ä")}

    def test_nobody_can_fill_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(label_configs, "MOST_PROJECTS", 3)
        known = LabelConfigs(tmp_path)
        assert [known.remember(number, config("a")) for number in range(1, 5)] == [True, True, True, False]
        assert known.remember(2, config("b"))
        assert set(LabelConfigs(tmp_path).known()) == {1, 2, 3}
        assert not LabelConfigs(tmp_path).remember(9, config("a"))
        monkeypatch.setattr(label_configs, "MOST_CHARACTERS", 3 * len(config("a")))
        assert not known.remember(3, config("a long name"))

    def test_a_write_that_fails_changes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        known = LabelConfigs(tmp_path)
        known.remember(7, config("a"))

        def full(*arguments: Any, **options: Any) -> Any:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(label_configs, "atomic_file", full)
            with pytest.raises(OSError, match="No space left"):
                known.remember(7, config("b"))
        assert LabelConfigs(tmp_path).known() == {7: config("a")}
        assert known.remember(7, config("b"))
        assert LabelConfigs(tmp_path).known() == {7: config("b")}
