from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from maskloop_backend.active.curves import Curve, Point, comparison, curves
from maskloop_backend.active.simulation import Rounds, SimulationError, simulate
from maskloop_backend.cli.main import cli
from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry import Registry
from maskloop_backend.training.dataset import Examples, read_source


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scenes") / "street"
    write_scenes(directory, 12, size=(64, 96))
    return directory


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Registry:
    keras.utils.set_random_seed(1)
    dataset, _ = read_source(scenes)
    architecture = Architecture(6, "small")
    registry = Registry(tmp_path_factory.mktemp("home"))
    registry.promote(registry.add(Bundle.create(build_fcn(architecture), architecture, dataset.labels)))
    return registry


def test_rounds_add_labels_and_are_the_same_again(registry: Registry, scenes: Path) -> None:
    dataset, _ = read_source(scenes)
    samples = list(dataset)
    train, measured = Examples(samples[:9], dataset.labels), Examples(samples[9:], dataset.labels)
    bundle = registry.load(str(registry.serving()))
    plan = Rounds(("default", "bald", "random"), labelled=(2, 5, 8, 11), seeds=1, training_steps=8, batch_size=2)
    points = simulate(bundle, train, measured, plan)
    by_strategy = {name: [p for p in points if p.strategy == name] for name in plan.strategies}
    for own in by_strategy.values():
        assert [p.labelled for p in own] == [2, 5, 8, 9]
        assert own[-1].to_correct is None
        assert own[-1].to_correct_rest is None
        assert all(0 <= p.miou <= 1 and 0 < (p.to_correct or 1) <= 1 for p in own)
    # the same start for all
    assert len({own[0].miou for own in by_strategy.values()}) == 1
    again = simulate(bundle, train, measured, plan)
    assert [(p.strategy, p.labelled) for p in again] == [(p.strategy, p.labelled) for p in points]
    np.testing.assert_allclose([p.miou for p in again], [p.miou for p in points], atol=0.02)


def test_it_learns(registry: Registry, scenes: Path) -> None:
    """Measured on what it was trained on, many steps must beat none."""
    dataset, _ = read_source(scenes)
    four = Examples(list(dataset)[:4], dataset.labels)
    bundle = registry.load(str(registry.serving()))

    def final(steps: int) -> float:
        plan = Rounds(("random",), labelled=(3, 4), seeds=1, training_steps=steps, learning_rate=5e-3)
        return simulate(bundle, four, four, plan)[-1].miou

    assert final(120) > final(1) + 0.15


def test_a_curve_tells_when_it_reaches_a_figure() -> None:
    points = [Point("random", seed, k, 10 * (k + 1), 0.2 * (k + 1), None, None) for seed in (0, 1) for k in range(3)]
    (curve,) = curves(points)
    assert curve == Curve("random", (10, 20, 30), (0.2, 0.4, pytest.approx(0.6)), (0, 0, 0), (None,) * 3, (None,) * 3)
    assert curve.reaches(0.5) == pytest.approx(25)
    assert curve.reaches(0.1) == 10
    assert curve.reaches(0.7) is None


def test_strategies_are_compared_where_labels_make_a_difference() -> None:
    none = (None,) * 3
    random = Curve("random", (10, 20, 30), (0.2, 0.3, 0.4), (0.01,) * 3, none, none)
    better = Curve("default", (10, 20, 30), (0.2, 0.4, 0.5), (0.01,) * 3, none, none)
    worse = Curve("margin", (10, 20, 30), (0.2, 0.2, 0.3), (0.01,) * 3, none, none)
    assert comparison([better, random, worse]) == [
        "default reaches random's final mIoU of 0.400 with 20 labels (67%)",
        "margin reaches random's final mIoU of 0.400 never",
    ]
    assert comparison([better]) == []
    flat = Curve("random", (10, 20, 30), (0.34, 0.33, 0.345), (0.01,) * 3, none, none)
    (line,) = comparison([better, flat])
    assert line.startswith("random gains +0.005 mIoU from 10 to 30 labels, and seeds differ by 0.020")


def test_a_start_that_leaves_nothing_is_refused(registry: Registry, scenes: Path) -> None:
    dataset, _ = read_source(scenes)
    two = Examples(list(dataset)[:2], dataset.labels)
    with pytest.raises(SimulationError, match=r"nothing is left to choose; begin with fewer \(--labelled\)"):
        simulate(registry.load(str(registry.serving())), two, two, Rounds(labelled=(2, 4)))
    with pytest.raises(SimulationError, match="seeds is 0"):
        Rounds(seeds=0)
    with pytest.raises(SimulationError, match="labelled is 5, 5; expected whole numbers from 1, each greater"):
        Rounds(labelled=(5, 5))


def run(registry: Registry, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--home", str(registry.home)])


def test_the_command_draws_the_curves(registry: Registry, scenes: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.svg"
    plan = ("--labelled", "3,6", "--seeds", "1", "--training-steps", "3")
    names = ("--strategies", "random, entropy")
    done = run(registry, "simulate", str(scenes), *plan, *names, "--plot", str(picture), "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert {curve["strategy"] for curve in result["curves"]} == {"random", "entropy"}
    root = ElementTree.fromstring(picture.read_text())
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    refused = run(registry, "simulate", str(scenes), *plan, "--plot", str(picture))
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output
    assert "there is no 'best'" in run(registry, "simulate", str(scenes), "--strategies", "best").output
    assert "expected whole numbers: 10,25," in run(registry, "simulate", str(scenes), "--labelled", "ten").output


def test_rank_orders_images_of_a_folder(registry: Registry, scenes: Path) -> None:
    images = scenes / "images"
    done = run(registry, "rank", str(images), "--strategy", "entropy", "--json")
    assert done.exit_code == 0, done.output
    ranked = json.loads(done.stdout)["ranked"]
    assert {one["id"] for one in ranked} == {path.name for path in images.iterdir()}
    figures = [one["usefulness"] for one in ranked]
    assert figures == sorted(figures, reverse=True)
    assert [one["rank"] for one in ranked] == list(range(1, 13))
    batch = json.loads(run(registry, "rank", str(scenes), "--budget", "4", "--labelled", str(scenes), "--json").stdout)
    assert [one["chosen"] for one in batch["ranked"]] == [True] * 4 + [False] * 8
    text = run(registry, "rank", str(images), "--strategy", "random", "--budget", "2")
    assert text.output.count("*") == 2


def test_rank_says_what_is_missing(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "nor a folder with images" in run(registry, "rank", str(tmp_path / "empty")).output
    assert "there is no 'best'" in run(registry, "rank", str(tmp_path), "--strategy", "best").output
    assert "give either SOURCE" in run(registry, "rank").output
    home = Registry(tmp_path / "home")
    assert "no version is served" in run(home, "rank", str(tmp_path)).output
