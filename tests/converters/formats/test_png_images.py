"""Where the images of PNG masks are: beside them, where a list says, or where the user says; never the wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskloop_converters.errors import FormatError
from maskloop_converters.formats import png
from maskloop_converters.formats.png.entries import INDEX
from maskloop_converters.masks import RunList
from maskloop_converters.samples import Dataset, ImageRef, LabelSet, Region, Sample

LABELS = LabelSet.from_names(["sky", "road"], ignore_id=255)


def picture(path: Path, shape: tuple[int, ...] = (2, 3, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    return path


def indexed(root: Path, image: ImageRef) -> Path:
    masks = RunList.from_masks([np.ones((2, 3), bool)], height=2, width=3)
    png.write(Dataset(LABELS, [Sample("a", image, masks, (Region(1),))]), root, images="reference")
    return root


def test_an_index_does_not_lead_to_files_outside(tmp_path: Path) -> None:
    """A dataset that somebody sends may not have files of this machine copied into an output."""
    secret = picture(tmp_path / "home" / "secret.png")
    root = indexed(tmp_path / "out", ImageRef("a.png", secret))
    assert str(secret) in (root / INDEX).read_text()
    (found,) = png.read(root)
    assert (found.image.source, found.image.name) == (None, "a.png")
    (found,) = png.read(root, images_from=tmp_path / "home")
    assert found.image.source == secret
    lines = (root / INDEX).read_text().splitlines()
    for name in ("/etc/a.png", "../../a.png", "C:\\me\\a.png"):
        record = json.loads(lines[1])
        record["image"] = {"name": name}
        (root / INDEX).write_text("\n".join([lines[0], json.dumps(record)]) + "\n")
        (found,) = png.read(root)
        assert found.image.name in ("etc/a.png", "a.png", "me/a.png")


def test_masks_get_their_images_from_another_folder(tmp_path: Path) -> None:
    picture(tmp_path / "voc" / "SegmentationClass" / "a.png", (2, 3))
    (tmp_path / "voc" / "JPEGImages").mkdir()
    (tmp_path / "voc" / "labels.txt").write_text("sky\nroad\n")
    with pytest.raises(FormatError, match=r"no image .*--images-from DIR"):
        list(png.read(tmp_path / "voc"))
    image = picture(tmp_path / "far" / "a.jpg")
    (found,) = png.read(tmp_path / "voc", images_from=tmp_path / "far")
    assert (found.image.source, found.image.name) == (image, "a.jpg")


def test_a_list_of_another_machine_does_not_mix_up_images_of_one_name(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "1.png")
    picture(tmp_path / "truth" / "1.png", (2, 3))
    for part in ("train", "val"):
        (tmp_path / f"{part}.txt").write_text(f"/home/me/{part}/pictures/1.png /home/me/{part}/truth/1.png\n")
    with pytest.raises(
        FormatError, match=r"/home/me/train/pictures/1\.png and /home/me/val/pictures/1\.png both lead to"
    ):
        png.read(tmp_path)
    (tmp_path / "val.txt").unlink()
    (found,) = png.read(tmp_path)
    assert found.image.source == tmp_path / "pictures" / "1.png"
