"""Which file an image is that a dataset names: exact first, and never the wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskloop_converters.errors import FormatError
from maskloop_converters.formats.file_names import relative_path
from maskloop_converters.formats.image_files import ImageFinder, read_address


@pytest.mark.parametrize(
    ("text", "name", "paths"),
    [
        ("0001.png", "0001.png", ["0001.png"]),
        ("train/0001.png", "train/0001.png", ["train/0001.png"]),
        ("a%20b #1.png", "a%20b #1.png", ["a%20b #1.png", "a b #1.png"]),
        ("/data/upload/5/4fad3754-img0.png", "img0.png", ["data/upload/5/4fad3754-img0.png", "img0.png"]),
        (
            "http://host:8080/data/upload/5/4fad3754-a%20b.png",
            "a b.png",
            ["data/upload/5/4fad3754-a b.png", "a b.png"],
        ),
        (
            "..\\..\\label-studio\\media\\upload\\4\\a.png",
            "a.png",
            ["label-studio/media/upload/4/a.png", "a.png"],
        ),
        ("upload/4fad3754-img0.png", "upload/4fad3754-img0.png", ["upload/4fad3754-img0.png"]),
        ("4fad3754-img0.png", "4fad3754-img0.png", ["4fad3754-img0.png"]),
        ("/data/local-files/?d=ds1/c%20d.png", "ds1/c d.png", ["ds1/c d.png"]),
        ("http://host/data/local-files/?d=ds1/c%20d.png", "ds1/c d.png", ["ds1/c d.png"]),
        ("s3://bucket/train/x.png", "train/x.png", ["train/x.png"]),
        ("https://host/x/y.png?token=1#top", "x/y.png", ["x/y.png"]),
        ("http://[a/x.png", "x.png", ["x.png"]),
        ("http://host", "", []),
        ("../../etc/passwd.png", "etc/passwd.png", ["etc/passwd.png"]),
        ("/data/img/a.png", "data/img/a.png", ["data/img/a.png"]),
        ("C:\\Users\\me\\a.png", "Users/me/a.png", ["Users/me/a.png"]),
        ("data:image/png;base64,AAAA", "", []),
        ("", "", []),
    ],
)
def test_addresses(text: str, name: str, paths: list[str]) -> None:
    address = read_address(text)
    assert (address.text, address.name, list(address.paths)) == (text, name, paths)


@given(st.text(max_size=400))
def test_whatever_it_is_called_it_stays_inside(text: str) -> None:
    address = read_address(text)
    for name in (address.name, *address.paths):
        assert not name or str(relative_path(name, "here")) == name
        assert all(len(part.encode()) <= 255 for part in name.split("/"))


def laid_out(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


@pytest.mark.parametrize(
    ("files", "text", "found"),
    [
        (["a.png"], "a.png", "a.png"),
        (["img/a.png"], "/data/img/a.png", "img/a.png"),
        (["a.png"], "C:\\Users\\me\\a.png", "a.png"),
        (["train/a.png", "a.png"], "s3://bucket/train/a.png", "train/a.png"),
        # The name that an upload is stored under before the one that it had.
        (["4fad3754-a.png", "a.png"], "/data/upload/1/4fad3754-a.png", "4fad3754-a.png"),
        (["a.png"], "/data/upload/1/4fad3754-a.png", "a.png"),
        # Not an upload's prefix: a name that only looks like it.
        (["a.png"], "4fad3754-a.png", None),
        (["b.png"], "a.png", None),
    ],
)
def test_the_most_exact_file_is_taken(tmp_path: Path, files: list[str], text: str, found: str | None) -> None:
    laid_out(tmp_path, *files)
    path = ImageFinder([tmp_path]).find(read_address(text), "task 1")
    assert path == (tmp_path / found if found else None)


@pytest.mark.parametrize("foreseen", [True, False])
def test_two_addresses_of_one_file_are_both_named(tmp_path: Path, *, foreseen: bool) -> None:
    laid_out(tmp_path, "0001.png")
    finder = ImageFinder([tmp_path])
    one, other = "s3://b/train/0001.png", "s3://b/val/0001.png"
    if foreseen:
        finder.foresee(one)
        finder.foresee(other)
        with pytest.raises(FormatError, match=rf"task 1: {one} and {other} both lead to .*0001\.png.*--images-from"):
            finder.find(read_address(one), "task 1")
    else:
        assert finder.find(read_address(one), "task 1") == tmp_path / "0001.png"
        assert finder.find(read_address(one), "task 3") == tmp_path / "0001.png"
    with pytest.raises(FormatError, match=rf"task 2: {other} and {one} both lead to .*0001\.png"):
        finder.find(read_address(other), "task 2")
    # Its whole path is beyond doubt.
    assert finder.find(read_address("0001.png"), "task 4") == tmp_path / "0001.png"


def test_two_files_of_one_address_are_both_named(tmp_path: Path) -> None:
    laid_out(tmp_path, "images/a.png", "a.png")
    finder = ImageFinder([tmp_path / "images", tmp_path, tmp_path / "images"])
    with pytest.raises(FormatError, match=r"task 1: .*images/a\.png and .*/a\.png differ"):
        finder.find(read_address("a.png"), "task 1")
    (tmp_path / "a.png").write_bytes((tmp_path / "images/a.png").read_bytes())
    assert finder.find(read_address("a.png"), "task 1") == tmp_path / "images/a.png"


def test_nothing_outside_the_folders_is_found(tmp_path: Path) -> None:
    laid_out(tmp_path, "secret.png", "data/images/a.png")
    finder = ImageFinder([tmp_path / "data"])
    for text in ("../secret.png", str(tmp_path / "secret.png"), "images/../../secret.png"):
        assert finder.find(read_address(text), "here", source=str(tmp_path / "secret.png")) is None
        assert finder.find(read_address(text), "here", source="data/../secret.png") is None
    assert finder.find(read_address("b.png"), "here", source=str(tmp_path / "data/images/a.png"))
    assert (
        finder.missing("b.png") == f"b.png is not in {tmp_path / 'data'}; say where the images are (--images-from DIR)"
    )
