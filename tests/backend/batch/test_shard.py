"""The unit of work: every image once, in order, with bounded memory, whatever is wrong with some of them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskloop_backend.batch.errors import StorageError
from maskloop_backend.batch.items import Failure, Item, Shard
from maskloop_backend.batch.shard import Labelled, Limits, label_shard
from maskloop_backend.batch.sources import Reader, listed
from maskloop_converters.errors import FormatError

Draw = Callable[..., Path]


class Noted:
    """A writer that keeps names."""

    def __init__(self, refuse: BaseException | None = None, at: str = "") -> None:
        self.written: list[str] = []
        self.lines: list[bytes] = []
        self.shares: list[float] = []
        self.failures: list[Failure] = []
        self._refuse, self._at = refuse, at

    def write(self, labelled: Labelled) -> int:
        if self._refuse is not None and labelled.item.name == self._at:
            raise self._refuse
        self.written.append(labelled.item.name)
        self.shares.append(0.0 if labelled.unsure is None else float(labelled.unsure.mean()))
        return 1

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)


def shard_of(folder: Path) -> Shard:
    return Shard(0, listed(str(folder)).items)


def test_good_images_are_written_in_order_and_bad_ones_have_their_reason(
    tmp_path: Path, draw: Draw, brightness: Any
) -> None:
    for number in range(8):
        draw(tmp_path / f"{number}.png", number)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "5.png").write_text("no picture")
    draw(tmp_path / "6.png", 6, height=300, width=400)
    shard = shard_of(tmp_path)
    (tmp_path / "7.png").unlink()
    writer, ticks = Noted(), []
    done = label_shard(
        shard, brightness, Reader("", None), writer, limits=Limits(max_pixels=100_000), tick=ticks.append
    )
    assert writer.written == ["0.png", "2.png", "4.png"]
    assert {f.name: f.kind for f in writer.failures} == {
        **dict.fromkeys(("1.png", "3.png", "5.png", "6.png"), "unreadable"),
        "7.png": "unreachable",
    }
    reasons = {f.name: f.reason for f in done.failures}
    assert "damaged" in reasons["1.png"]
    assert "empty" in reasons["3.png"]
    assert "not an image" in reasons["5.png"]
    assert "limit" in reasons["6.png"]
    assert reasons["7.png"] == "there is no such file"
    assert (done.done, sum(ticks)) == (3, 8)


def test_batches_follow_the_order_alone(tmp_path: Path, draw: Draw, brightness: Any) -> None:
    for number in range(6):
        draw(tmp_path / f"{number}.png", number, height=512, width=800)
    shard = shard_of(tmp_path)
    first = threading.Event()

    def late(item: Item) -> bytes:
        # the first image comes after all others that are read beside it
        if item.name == "0.png":
            first.wait(10)
        elif item.name == "3.png":
            first.set()
        return Reader("", None)(item)

    label_shard(shard, brightness, late, Noted())
    assert brightness.calls == [2, 2, 2]


@pytest.mark.parametrize("memory", [1, 1 << 20, 1 << 30])
def test_any_memory_gets_through_all_images(memory: int, tmp_path: Path, draw: Draw, brightness: Any) -> None:
    for number in range(12):
        draw(tmp_path / f"{number:02}.png", number, height=200 + 40 * (number % 3), width=300)
    writer = Noted()
    label_shard(shard_of(tmp_path), brightness, Reader("", None), writer, limits=Limits(memory=memory))
    assert writer.written == sorted(writer.written)
    assert len(writer.written) == 12


def test_what_cannot_be_written_fails_alone(tmp_path: Path, draw: Draw, brightness: Any) -> None:
    for number in range(3):
        draw(tmp_path / f"{number}.png", number)
    writer = Noted(FormatError("sample 1.png: no"), "1.png")
    done = label_shard(shard_of(tmp_path), brightness, Reader("", None), writer)
    assert [(f.name, f.kind) for f in done.failures] == [("1.png", "unwritable")]
    assert writer.written == ["0.png", "2.png"]


def test_a_full_disk_ends_the_shard(tmp_path: Path, draw: Draw, brightness: Any) -> None:
    for number in range(60):
        draw(tmp_path / f"{number}.png", number)
    writer = Noted(OSError(errno.ENOSPC, "No space left on device"), "11.png")
    with pytest.raises(StorageError, match="No space left"):
        label_shard(shard_of(tmp_path), brightness, Reader("", None), writer)


def test_a_storage_that_stumbles_is_asked_again(tmp_path: Path, draw: Draw, brightness: Any) -> None:
    draw(tmp_path / "0.png")
    draw(tmp_path / "1.png")
    asked: dict[str, int] = {}
    pauses: list[float] = []

    def stumbling(item: Item) -> bytes:
        asked[item.name] = asked.get(item.name, 0) + 1
        if item.name == "1.png" or asked[item.name] < 3:
            raise OSError("503 Slow Down https://bucket.example/x?X-Amz-Signature=secret")
        return Reader("", None)(item)

    writer = Noted()
    done = label_shard(shard_of(tmp_path), brightness, stumbling, writer, pause=pauses.append)
    assert writer.written == ["0.png"]
    assert asked == {"0.png": 3, "1.png": 3}
    assert sorted(pauses) == [0.5, 0.5, 1.0, 1.0]
    assert (done.failures[0].kind, "secret" in done.failures[0].reason) == ("unreachable", False)


def test_unsure_pixels_are_left_out_and_counted(tmp_path: Path, draw: Draw, brightness: Any) -> None:
    draw(tmp_path / "0.png", height=24, width=32)
    writer = Noted()
    done = label_shard(shard_of(tmp_path), brightness, Reader("", None), writer, below=0.6)
    # the two grey rows below
    assert writer.shares == [pytest.approx(2 / 24)]
    assert done.void == (64, 768)
