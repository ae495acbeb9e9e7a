"""Where images come from: each kind of source, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskloop_backend.batch import sources
from maskloop_backend.batch.errors import BatchError
from maskloop_backend.batch.sources import Reader, listed, shuffled
from maskloop_converters import datasets
from maskloop_converters.errors import DataError

Draw = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    for number, name in enumerate(["b.png", "a.jpg", "deep/er/a.jpg"]):
        draw(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    return tmp_path / "photos"


def test_folder_glob_file_and_list_name_images_by_their_paths(folder: Path, tmp_path: Path) -> None:
    assert [item.name for item in listed(str(folder)).items] == ["a.jpg", "b.png", "deep/er/a.jpg"]
    assert [item.name for item in listed(f"{folder}/**/a.jpg").items] == ["a.jpg", "deep/er/a.jpg"]
    assert [item.name for item in listed(str(folder / "b.png")).items] == ["b.png"]
    (tmp_path / "list.txt").write_text("photos/deep/er/a.jpg\n\nphotos/b.png\n")
    found = listed(str(tmp_path / "list.txt"))
    assert [item.name for item in found.items] == ["deep/er/a.jpg", "b.png"]
    assert Reader("", None)(found.items[1]) == (folder / "b.png").read_bytes()


def test_urls_are_listed_and_read_by_fsspec(folder: Path) -> None:
    found = listed(f"file://{folder}")
    assert [item.name for item in found.items] == ["a.jpg", "b.png", "deep/er/a.jpg"]
    assert Reader("", None)(found.items[0]) == (folder / "a.jpg").read_bytes()
    assert [item.name for item in listed(f"file://{folder}/*.png").items] == ["b.png"]


@pytest.mark.parametrize("format_name", ["png", "coco", "tfrecord", "labelstudio"])
def test_datasets_give_their_samples(format_name: str, folder: Path, tmp_path: Path, draw: Draw) -> None:
    from maskloop_backend.batch.items import Item
    from maskloop_converters.masks import RunList
    from maskloop_converters.samples import Dataset, ImageRef, LabelSet, Sample

    files = [folder / "a.jpg", folder / "b.png"]
    samples = tuple(
        Sample(f"s{k}", ImageRef(file.name, file), RunList.empty(24, 32), ()) for k, file in enumerate(files)
    )
    datasets.write(Dataset(LabelSet.from_names(["road"]), samples), tmp_path / "made", format_name)
    found = listed(str(tmp_path / "made"))
    assert [item.id for item in found.items] == ["s0", "s1"]
    reader = Reader(str(tmp_path / "made"), found.format if not found.items[0].at else None)
    # backwards, too: a shard may be made again
    assert [reader(item) for item in reversed(found.items)] == [file.read_bytes() for file in reversed(files)]
    with pytest.raises(FileNotFoundError):
        Reader(str(tmp_path / "made"), format_name)(Item("c", number=7))


def test_what_is_named_twice_is_taken_once_and_two_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("photos/b.png\nphotos/a.jpg\nphotos/b.png\n")
    found = listed(str(tmp_path / "list.txt"))
    assert [item.name for item in found.items] == ["b.png", "a.jpg"]
    assert found.repeated == ("b.png",)
    (tmp_path / "urls.txt").write_text(
        "http://one.example/x/a.jpg?token=secret1\nhttp://one.example/x/a.jpg?token=secret2\n"
    )
    with pytest.raises(BatchError, match=r"one\.example/x/a\.jpg would both be called 'a\.jpg'") as error:
        listed(str(tmp_path / "urls.txt"))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "nowhere does not exist; expected an image, a folder, a glob"),
        ("empty", "holds no image"),
        ("nothing-*.jpg", "holds no image"),
        ("odd://bucket/x", "nothing here reads odd:// addresses"),
    ],
)
def test_nothing_to_label_is_said(source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(DataError, match=says):
        listed(source)


def test_a_random_order_stays_when_the_source_grows(folder: Path, draw: Draw) -> None:
    before = [item.name for item in shuffled(listed(str(folder)).items, 7)]
    for number in range(20):
        draw(folder / f"new{number}.png", number)
    after = [item.name for item in shuffled(listed(str(folder)).items, 7)]
    assert [name for name in after if name in before] == before
    assert after != [item.name for item in shuffled(listed(str(folder)).items, 8)]


def test_only_records_are_read_in_order() -> None:
    assert not sources.in_order(Reader("x", None))
    assert sources.in_order(Reader("x", "tfrecord"))
