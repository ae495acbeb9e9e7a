"""TensorBoard's files, read back by TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from maskloop_backend.training.events import EventFile


def test_tensorflow_reads_them(tmp_path: Path) -> None:
    events = EventFile(tmp_path / "logs")
    events.scalars(1, {"loss": 2.5, "learning_rate": 1e-3})
    events.scalars(300, {"iou/Straße": 0.25})
    events.close()
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    first, *rest = tf.compat.v1.train.summary_iterator(str(file))
    assert first.file_version == "brain.Event:2"
    found = [(event.step, value.tag, value.simple_value) for event in rest for value in event.summary.value]
    assert found == [
        (1, "loss", 2.5),
        (1, "learning_rate", pytest.approx(1e-3)),
        (300, "iou/Straße", 0.25),
    ]
    assert all(event.wall_time >= first.wall_time for event in rest)
