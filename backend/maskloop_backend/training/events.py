"""TensorBoard logs: scalars in event files, which are TFRecords of Event messages. No TensorFlow needed to write them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from maskloop_converters.codecs.tfexample import RecordWriter


class EventFile:
    """The scalars of one training, for `tensorboard --logdir`.

    An interrupted training that goes on adds a file of its own to the directory; TensorBoard shows them as one curve.

    Args:
        directory: of the training; made.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        path = directory / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{time.monotonic_ns() % 10**9}"
        self._file = path.open("wb")
        self._records = RecordWriter(self._file)
        # Event.file_version, field 3
        self._records.write(_double(1, now) + _bytes(3, b"brain.Event:2"))
        self._file.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of one step, tag by tag; they are on their way to the disk when this returns."""
        # Event{wall_time=1, step=2, summary=5: Summary{value=1: Value{tag=1, simple_value=2}}}
        summary = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | 5, value)) for tag, value in values.items()
        )
        self._records.write(_double(1, time.time()) + b"\x10" + _varint(step) + _bytes(5, summary))
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._records.finish()
        self._file.close()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _double(field: int, value: float) -> bytes:
    return struct.pack("<Bd", field << 3 | 1, value)


def _bytes(field: int, body: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(body)) + body
