"""Several devices do what one does: virtual ones here, which JAX makes of a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskloop_backend.demo.scenes import write_scenes
from maskloop_backend.training import devices
from maskloop_backend.training.devices import Devices

# arguments: dataset, home, the step after which it dies (0: none); prints losses, mIoU and what is said of the devices
TRAINING = """
import json, sys
from pathlib import Path
import numpy as np
from maskloop_backend.registry.store import Registry
from maskloop_backend.training import devices
from maskloop_backend.training.dataset import read_source
from maskloop_backend.training.settings import TrainingSettings
from maskloop_backend.training.outcome import Silent
from maskloop_backend.training.trainer import train

class Told(Silent):
    def __init__(self, stop):
        self.losses, self.said, self.stop = [], "", stop
    def started(self, *, devices="", **rest):
        self.said = devices
    def stepped(self, *, step, loss, learning_rate):
        self.losses.append(loss)
        if step == self.stop:
            raise KeyboardInterrupt

devices.ALONE = frozenset()
dataset, validation = read_source(Path(sys.argv[1]))
home, stop = Path(sys.argv[2]), int(sys.argv[3])
settings = TrainingSettings(backbone="small", epochs=2, batch_size=4, crop=(32, 64), validation=0.3, evaluate_every=2, checkpoint_every=1)
told = Told(stop)
try:
    result = train(dataset, settings, Registry(home), told, resume=True)
except KeyboardInterrupt:
    print(json.dumps({"losses": told.losses, "said": told.said}))
else:
    weights = Registry(home).load(result.version).model.get_weights()
    np.savez(home / "weights.npz", *weights)
    print(json.dumps({"losses": told.losses, "said": told.said, "miou": [one.miou for one in result.history]}))
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scenes") / "street"
    write_scenes(directory, 14, size=(64, 96))
    return directory


def trained(scenes: Path, home: Path, count: int, *, stop: int = 0) -> Any:
    """Train on virtual devices in a process of its own; return what it prints."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # XLA's threads, as many as cores otherwise: devices that wait for each other hold one each, and two computations at
        # once would take them all
        "NPROC": "16",
        "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
        # on a busy machine four devices on two cores may wait for each other for long
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count} "
        "--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    arguments = [str(scenes), str(home), str(stop)]
    run = subprocess.run(
        [sys.executable, "-c", TRAINING, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def weights(home: Path) -> list[Any]:
    with np.load(home / "weights.npz") as file:
        return list(file.values())


@pytest.mark.slow
def test_several_devices_learn_what_one_learns_and_go_on_for_each_other(tmp_path: Path, scenes: Path) -> None:
    one = trained(scenes, tmp_path / "one", 1)
    four = trained(scenes, tmp_path / "several", 4, stop=3)
    two = trained(scenes, tmp_path / "several", 2)
    assert [run["said"] for run in (one, four, two)] == ["", "on 4 devices", "on 2 devices"]
    # the third step was cut off before its checkpoint, and is done again
    assert four["losses"][:2] + two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert two["miou"] == pytest.approx(one["miou"], abs=0.02)
    for a, b in zip(weights(tmp_path / "one"), weights(tmp_path / "several"), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.parametrize(
    ("backend", "found", "batch_size", "count", "said"),
    [
        ("jax", 0, 8, 1, ""),
        ("jax", 1, 8, 1, ""),
        ("jax", 4, 6, 3, "on 3 devices, 1 idle: the batch size is no multiple of all"),
        ("jax", 4, 1, 1, "on 1 device, 3 idle: the batch size is no multiple of all"),
        ("tensorflow", 1, 8, 1, ""),
        ("tensorflow", 4, 8, 1, "on 1 device, 3 idle: KERAS_BACKEND=jax shares batches among all"),
    ],
)
def test_how_many_share_a_batch(
    monkeypatch: pytest.MonkeyPatch, backend: str, found: int, batch_size: int, count: int, said: str
) -> None:
    monkeypatch.setattr(
        devices.keras.distribution, "list_devices", lambda: [f"gpu:{k}" for k in range(found)] or ["cpu:0"]
    )
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(devices.keras.distribution, "DataParallel", lambda devices: None)
    made = Devices(batch_size)
    assert (made.count, made.said()) == (count, said)
