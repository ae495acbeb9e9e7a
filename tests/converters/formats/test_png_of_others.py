"""Masks as other tools leave them: whose names, which numbers, what kinds of files, which folders. Nothing is guessed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskloop_converters import convert
from maskloop_converters.errors import FormatError, TargetError
from maskloop_converters.formats import png
from maskloop_converters.formats.known_labels import CAMVID, CAMVID_32, CITYSCAPES, VOC
from maskloop_converters.formats.labels import voc_color
from maskloop_converters.samples import Dataset

FIXTURES = Path(__file__).parents[2] / "fixtures" / "png"
MASK = np.zeros((4, 6), np.int64)
MASK[1:3, 1:4] = 1
ONES = int(MASK.sum())


def save(path: Path, pixels: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(pixels)
    Image.fromarray(array.astype(np.uint16 if array.max() > 255 else np.uint8)).save(path, **options)
    return path


def photo(path: Path, height: int = 4, width: int = 6) -> Path:
    return save(path, np.zeros((height, width, 3)))


def paletted(path: Path, indices: Any, colors: list[tuple[int, int, int]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(indices, np.uint8)).convert("L")
    image.putpalette([channel for color in colors for channel in color])
    image.save(path, **options)
    return path


def plain(root: Path, masks: dict[str, Any], names: str | None = None) -> Path:
    """Images and masks, and a list of labels if names are given."""
    for name, mask in masks.items():
        photo(root / "images" / f"{name}.jpg", *np.shape(mask)[:2])
        save(root / "masks" / f"{name}.png", mask)
    if names is not None:
        (root / "labels.txt").write_text(names)
    return root


def areas(dataset: Dataset) -> dict[str, int]:
    """Pixels by the label's name, over all samples."""
    names = {label.id: label.name for label in dataset.labels.labels}
    found: dict[str, int] = {}
    for sample in dataset:
        for region, area in zip(sample.regions, sample.masks.areas().tolist(), strict=True):
            name = names.get(region.label, str(region.label))
            found[name] = found.get(name, 0) + area
    return found


def said(dataset: Dataset) -> str:
    return "\n".join(dataset.notes.lines())


@pytest.mark.parametrize(
    ("name", "regions"),
    [
        ("voc-own-names", [("car", 35)]),
        ("one-name", [("car", 35)]),
        ("cvat-segmentation-mask", [("car", 15), ("car", 20), ("road", 80)]),
        ("cvat-camvid", [("car", 35)]),
        ("voc-test-list", [("car", 35)]),
        ("cityscapes-train-ids", [("road", 80), ("car", 35)]),
        ("mask-rgb255", [("car", 35)]),
        ("mask-rgbidx", [("car", 35)]),
        ("mask-bin_tif", [("car", 35)]),
        ("mask-bin_bmp", [("car", 35)]),
        ("mask-bin_gif", [("car", 35)]),
        ("mask-bin_suffix", [("car", 35)]),
    ],
)
def test_files_of_other_tools(tmp_path: Path, name: str, regions: list[tuple[str, int]]) -> None:
    assert png.detect(FIXTURES / name) is None
    dataset = png.read(FIXTURES / name)
    (only,) = dataset
    names = {label.id: label.name for label in dataset.labels.labels}
    found = [(names[r.label], a) for r, a in zip(only.regions, only.masks.areas().tolist(), strict=True)]
    assert found == regions
    assert convert(FIXTURES / name, tmp_path / "out", "coco", verify=True).verified == 1


def test_objects_without_images_are_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cvat-segmentation-mask", tmp_path / "x")
    shutil.rmtree(tmp_path / "x" / "JPEGImages")
    (only,) = png.read(tmp_path / "x")
    assert (only.height, only.width, only.image.source, len(only.regions)) == (12, 20, None, 3)
    photo(tmp_path / "photos" / "a.png", 12, 20)
    (only,) = png.read(tmp_path / "x", images_from=tmp_path / "photos")
    assert (only.image.name, only.image.source) == ("a.png", tmp_path / "photos" / "a.png")


def test_images_without_masks_are_counted_and_strict_sees_them(tmp_path: Path) -> None:
    dataset = png.read(FIXTURES / "voc-test-list")
    assert len(list(dataset)) == 1
    assert dataset.skipped.examples == {"images without a mask": ["no mask for b.jpg"]}
    with pytest.raises(TargetError, match=r"no mask for b\.jpg"):
        convert(FIXTURES / "voc-test-list", tmp_path / "out", "coco", strict=True)


# Whose names the labels have.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_names.txt", "_background_\ncar\n"),
        ("label_colors.txt", "0 0 0 _background_\n128 0 0 car\n"),
        ("labelmap.txt", "_background_:0,0,0::\ncar:128,0,0::\n"),
        ("dataset_meta.json", '{"label_map": {"0": "_background_", "1": "car"}}'),
        ("classes.txt", "_background_\ncar\n"),
    ],
)
@pytest.mark.parametrize("layout", ["voc", "camvid", "cityscapes"])
def test_a_list_beside_wins_over_built_in_names(tmp_path: Path, layout: str, name: str, text: str) -> None:
    image, mask = {
        "voc": ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        "camvid": ("train/a.png", "trainannot/a.png"),
        "cityscapes": ("leftImg8bit/val/f/f_0_leftImg8bit.png", "gtFine/val/f/f_0_gtFine_labelIds.png"),
    }[layout]
    photo(tmp_path / image)
    save(tmp_path / mask, MASK)
    (tmp_path / name).write_text(text)
    dataset = png.read(tmp_path)
    assert areas(dataset) == {"car": ONES}
    assert not dataset.notes
    (tmp_path / name).rename(tmp_path / "my_categories.txt")
    unnamed = png.read(tmp_path)
    assert areas(unnamed) == {"class 0": MASK.size - ONES, "class 1": ONES}  # no aeroplane, Building or ego vehicle
    assert "is my_categories.txt a list? give it with --labels" in said(unnamed)


def test_built_in_names_are_said_and_only_used_where_the_masks_look_like_it(tmp_path: Path) -> None:
    photo(tmp_path / "JPEGImages/a.jpg")
    border = np.where(MASK, 7, 0)
    border[0, 0] = 255
    save(tmp_path / "SegmentationClass/a.png", border)
    dataset = png.read(tmp_path)
    assert dataset.labels == VOC
    assert areas(dataset) == {"car": ONES, "255": 1}
    assert "named by that of PASCAL VOC; give --labels if it is another" in said(dataset)
    save(tmp_path / "SegmentationClass/a.png", MASK * 30)
    assert areas(png.read(tmp_path)) == {"class 0": MASK.size - ONES, "class 30": ONES}


def test_numbers_that_built_in_names_do_not_have_are_an_error(tmp_path: Path) -> None:
    for k in range(40):
        photo(tmp_path / f"JPEGImages/{k:02d}.jpg")
        mask = np.where(MASK, 7, 255)
        mask[0, 0] = 21 if k == 1 else 0  # one of those that are not looked at
        save(tmp_path / f"SegmentationClass/{k:02d}.png", mask)
    with pytest.raises(FormatError, match=r"ids \[21\].*the labels of PASCAL VOC, as there is no label list.*--labels"):
        list(png.read(tmp_path))


def test_voc_masks_saved_as_rgb(tmp_path: Path) -> None:
    mask = np.where(MASK, 7, 0)
    mask[0, 0], mask[3, 5] = 255, 20
    rgb = np.array([voc_color(k) for k in range(256)], np.uint8)[mask]
    photo(tmp_path / "JPEGImages/a.jpg")
    save(tmp_path / "SegmentationClass/a.png", rgb)
    dataset = png.read(tmp_path)
    assert areas(dataset) == {"car": ONES, "tvmonitor": 1, "255": 1}
    assert "PASCAL VOC" in said(dataset)


# Masks that nobody named.


@pytest.mark.parametrize(
    ("masks", "names", "expected"),
    [
        ([MASK, MASK * 3], 4, {"class 0": 2 * (24 - ONES), "class 1": ONES, "class 3": ONES}),
        ([np.where(MASK, 255, 2)], 3, {"class 2": 24 - ONES}),  # 255 is nobody's
        ([MASK * 255], 2, {"class 0": 24 - ONES, "class 1": ONES}),
        ([MASK * 80], 2, {"class 0": 24 - ONES, "class 80": ONES}),
        ([MASK * 300], 2, {"class 0": 24 - ONES, "class 300": ONES}),
        ([np.stack([MASK * 2] * 3, 2)], 3, {"class 0": 24 - ONES, "class 2": ONES}),
    ],
)
def test_a_folder_of_masks_without_a_list(tmp_path: Path, masks: list[Any], names: int, expected: Any) -> None:
    root = plain(tmp_path / "x", {str(k): mask for k, mask in enumerate(masks)})
    dataset = png.read(root)
    assert areas(dataset) == expected
    assert len(dataset.labels.labels) == names
    assert "name them in a labels.txt in it, a name a line" in said(dataset)
    assert len(dataset.notes.lines()) == 1
    assert convert(root, tmp_path / "out", "png", verify=True).verified == len(masks)


def test_masks_that_cannot_be_read_are_an_error_that_says_why(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 6), 1).save(tmp_path / folder / "a.jpg")
    with pytest.raises(
        FormatError, match=r"has no mask that could be read: .*a\.jpg is a JPEG, .* save the masks as PNG"
    ):
        png.read(tmp_path)


def test_colours_without_a_list_are_an_error_that_shows_them(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": np.stack([MASK * 9, MASK * 8, MASK], 2)})
    with pytest.raises(FormatError, match=r"no list of labels.* 2 colours \(\(0, 0, 0\), \(9, 8, 1\).*name,r,g,b"):
        png.read(root)


# Masks of 0 and 255.


@pytest.mark.parametrize("names", ["car\n", "background\ncar\n", "0 background\n1 car\n", "1 car\n"])
@pytest.mark.parametrize("value", [1, 255])
def test_binary_masks_are_never_inverted(tmp_path: Path, names: str, value: int) -> None:
    root = plain(tmp_path, {"a": MASK * value, "b": MASK * 0}, names)
    if (names, value) == ("1 car\n", 1):
        with pytest.raises(FormatError, match=r"ids \[0\].*name 0 too, 'background' or 'void'"):
            list(png.read(root))
        return
    dataset = png.read(root)
    assert areas(dataset) == {"car": ONES}
    assert dataset.labels.background_id == 0


def test_a_list_that_does_not_say_what_255_is_is_an_error(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK * 255}, "0 car\n")
    with pytest.raises(FormatError, match="two ways: 0 is car and 255 what nobody judged, or 255 is car"):
        png.read(root)


def test_255_is_not_judged_where_1_occurs(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK * 255, "b": MASK}, "sky\nroad\n")
    assert areas(png.read(root)) == {"sky": 2 * (24 - ONES), "road": ONES}


def test_a_binary_dataset_in_which_a_1_turns_up_is_an_error(tmp_path: Path) -> None:
    masks = {f"{k:02d}": MASK * (1 if k == 1 else 255) for k in range(40)}
    with pytest.raises(FormatError, match=r"01\.png holds \[1\], but the masks before it hold 0 and 255 alone"):
        list(png.read(plain(tmp_path, masks, "background\ncar\n")))


# Palettes.

COLORED = "0 background 0 0 0\n1 car 128 0 0\n2 road 0 128 0\n"
THREE = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]


def test_a_reordered_palette_is_an_error_that_names_both_readings(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK}, COLORED)
    mask = MASK + 0
    mask[3] = 2
    paletted(root / "masks/a.png", mask, THREE)
    assert areas(png.read(root)) == {"car": ONES, "road": 6}
    swapped = np.array([0, 2, 1], np.uint8)[mask]  # an optimiser sorts the palette; the picture looks the same
    paletted(root / "masks/a.png", swapped, [THREE[0], THREE[2], THREE[1]], optimize=True)
    message = "by its indices the mask holds 0 = background, 1 = car, 2 = road, by its colours 0 = background, 1 = road"
    with pytest.raises(FormatError, match=message):
        list(png.read(root))
    assert areas(png.read(root, values="color")) == {"car": ONES, "road": 6}
    assert areas(png.read(root, values="index")) == {"car": 6, "road": ONES}


@pytest.mark.parametrize("names", [COLORED.replace("2 road", "7 road"), "0 background\n1 car\n4 road 0 128 0\n"])
def test_a_palette_whose_indices_are_no_labels_is_read_by_its_colours(tmp_path: Path, names: str) -> None:
    root = plain(tmp_path, {"a": MASK}, names)
    paletted(root / "masks/a.png", MASK * 2, [(0, 0, 0), (1, 1, 1), (0, 128, 0)])
    dataset = png.read(root)
    assert areas(dataset) == {"road": ONES}
    assert "palettes in another order than the labels, read by their colours" in said(dataset)


def test_palettes_that_say_nothing_are_read_by_index(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK}, "0 sky 128 128 128\n1 road\n2 void 0 0 0\n")
    for colors in ([(k, k, k) for k in range(256)], [(5, 5, 5), (9, 9, 9)], [(0, 0, 0), (0, 0, 0)]):
        paletted(root / "masks/a.png", MASK, colors)
        assert areas(png.read(root)) == {"sky": 24 - ONES, "road": ONES}


def test_black_on_white_is_an_error_not_an_inverted_mask(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK}, "background\ncar\n")
    paletted(root / "masks/a.png", 1 - MASK, [(255, 255, 255), (0, 0, 0)])
    with pytest.raises(
        FormatError, match="by its indices the mask holds 0 = background, 1 = car, by its colours 0 = car"
    ):
        list(png.read(root))
    paletted(root / "masks/a.png", MASK, [(0, 0, 0), (255, 255, 255)])
    assert areas(png.read(root)) == {"car": ONES}


def test_our_own_palettes_are_checked_too(tmp_path: Path) -> None:
    root = plain(tmp_path / "in", {"a": MASK}, COLORED)
    png.write(png.read(root), tmp_path / "out", colored=True)
    assert areas(png.read(tmp_path / "out")) == {"car": ONES}
    paletted(tmp_path / "out/masks/a.png", MASK * 2, [THREE[0], THREE[2], THREE[1]])
    with pytest.raises(FormatError, match="can be read in two ways"):
        list(png.read(tmp_path / "out"))


def test_colour_lists_and_three_equal_channels(tmp_path: Path) -> None:
    """With colours elsewhere, or with its grey in the list, grey is a colour; else three times the same number."""
    grey = np.stack([MASK * 128] * 3, 2)
    root = plain(tmp_path / "colours", {"a": grey, "b": np.stack([MASK * 64, MASK * 0, MASK * 128], 2)})
    (root / "class_dict.csv").write_text("name,r,g,b\nSky,128,128,128\nVoid,0,0,0\nCar,64,0,128\n")
    assert areas(png.read(root)) == {"Sky": ONES, "Car": ONES}
    root = plain(tmp_path / "vocs", {"a": grey}, "".join(f"class {k}\n" for k in range(8)))
    assert areas(png.read(root)) == {"class 0": 24 - ONES, "class 7": ONES}
    root = plain(
        tmp_path / "numbers", {"a": np.stack([MASK * 2] * 3, 2)}, "0 Void 0 0 0\n1 Sky 128 128 128\n2 Car 9 9 9\n"
    )
    assert areas(png.read(root)) == {"Car": ONES}


# Kinds of files and names.


def test_mask_files_that_are_refused_say_why(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK, "b": MASK}, "background\ncar\n")
    (root / "masks/a.png").unlink()
    save(root / "masks/a.jpg", MASK)
    with pytest.raises(FormatError, match=r"a\.jpg is a JPEG, which does not keep label numbers"):
        list(png.read(root))
    (root / "masks/a.jpg").unlink()
    frames = [Image.fromarray((MASK * k).astype(np.uint8)) for k in (1, 2)]
    frames[0].save(root / "masks/a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(FormatError, match=r"a\.tif: it has several frames"):
        list(png.read(root))
    Image.fromarray(MASK.astype(np.float32)).save(root / "masks/a.tif")
    with pytest.raises(FormatError, match=r"a\.tif: pixels of Pillow's mode F are no label numbers"):
        list(png.read(root))


def test_wide_and_bilevel_masks_of_other_formats(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK}, "0 background\n1 car\n300 road\n")
    (root / "masks/a.png").unlink()
    Image.fromarray((MASK * 300).astype(np.uint16)).save(root / "masks/a.tiff")
    assert areas(png.read(root)) == {"road": ONES}
    (root / "masks/a.tiff").unlink()
    Image.fromarray((MASK * 255).astype(np.uint8)).convert("1").save(root / "masks/a.bmp")
    assert areas(png.read(root)) == {"car": ONES}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_mask.png"),
        ("a.jpg", "a_seg_mask.png"),
        ("a.jpg", "a_L.png"),
        ("a.jpg", "a_P.png"),
        ("a.jpg", "a.jpg.png"),
        ("a.jpg", "mask_a.png"),
        ("a.jpg", "a_labelIds.png"),
        ("a_sat.jpg", "a_mask.png"),
        ("sub/a.jpg", "sub/a_mask.png"),
    ],
)
def test_names_of_masks(tmp_path: Path, image: str, mask: str) -> None:
    photo(tmp_path / "images" / image)
    save(tmp_path / "masks" / mask, MASK)
    (tmp_path / "labels.txt").write_text("background\ncar\n")
    assert areas(png.read(tmp_path)) == {"car": ONES}


def test_two_masks_of_an_image_are_an_error(tmp_path: Path) -> None:
    root = plain(tmp_path, {"a": MASK}, "background\ncar\n")
    save(root / "masks/a_mask.png", MASK)
    with pytest.raises(FormatError, match=r"there is no image a_mask\.png"):
        list(png.read(root))
    (root / "masks/a.png").unlink()
    save(root / "masks/a_seg.png", MASK)
    with pytest.raises(FormatError, match=r"a_seg\.png and a_mask\.png may both be the mask of"):
        png.read(root)


# Folders and parts.

LAYOUTS = {
    "valid": (["train/images/a.jpg", "valid/images/a.jpg"], ["train/masks/a.png", "valid/masks/a.png"]),
    "training": (["training/images/a.jpg"], ["training/masks/a.png"]),
    "of any name": (["north/images/a.jpg", "south/images/b.jpg"], ["north/masks/a.png", "south/masks/b.png"]),
    "nested": (
        ["images/validation/a.jpg", "images/training/a.jpg"],
        ["masks/validation/a.png", "masks/training/a.png"],
    ),
    "mmsegmentation": (["img_dir/train/a.jpg", "img_dir/val/a.jpg"], ["ann_dir/train/a.png", "ann_dir/val/a.png"]),
    "ade20k": (["images/training/a.jpg"], ["annotations/training/a.png"]),
    "labels": (["images/a.jpg"], ["labels/a.png"]),
    "fiftyone": (["data/a.jpg"], ["labels/a.png"]),
    "imgs": (["imgs/a.jpg"], ["masks/a.png"]),
    "kaggle": (["train/a.png", "val/b.png"], ["train_labels/a_L.png", "val_labels/b_L.png"]),
    "carvana": (["train/a.jpg"], ["train_masks/a_mask.gif"]),
    "camvid": (["701_StillsRaw_full/a.png"], ["LabeledApproved_full/a_L.png"]),
    "default": (["default/a.png"], ["defaultannot/a.png"]),
    "roboflow": (["train/a.jpg", "valid/b.jpg"], ["train/a_mask.png", "valid/b_mask.png"]),
    "deepglobe": (["a_sat.jpg"], ["a_mask.png"]),
    "labelme": (["JPEGImages/a.jpg"], ["SegmentationClassPNG/a.png"]),
    "kitti": (["training/image_2/a.png"], ["training/semantic/a.png"]),
    "vistas 1.2": (
        ["training/images/a.jpg", "validation/images/b.jpg"],
        ["training/labels/a.png", "validation/labels/b.png"],
    ),
    "vistas 2.0": (["training/images/a.jpg"], ["training/v2.0/labels/a.png"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_common_downloads(tmp_path: Path, layout: str) -> None:
    images, masks = LAYOUTS[layout]
    for image in images:
        photo(tmp_path / "in" / image)
    for mask in masks:
        save(tmp_path / "in" / mask, MASK)
    (tmp_path / "in" / "classes.txt").write_text("background\ncar\n")
    dataset = png.read(tmp_path / "in")
    assert areas(dataset) == {"car": ONES * len(images)}
    assert not dataset.skipped
    assert convert(tmp_path / "in", tmp_path / "out", "coco", verify=True, strict=True).verified == len(images)
    for part in png.splits(tmp_path / "in"):
        assert len(list(png.read(tmp_path / "in", split=part))) == 1


@pytest.mark.parametrize(
    "masks",
    [
        ["SegmentationClass/a.png"],
        ["gtFine/default/a_gtFine_labelIds.png"],
        ["default/semantic/a.png", "train/semantic/b.png"],
        ["defaultannot/a.png"],
        ["masks/a.png"],
    ],
)
def test_exports_without_images(tmp_path: Path, masks: list[str]) -> None:
    """As CVAT makes them unless it is asked for the images."""
    for mask in masks:
        save(tmp_path / "in" / mask, MASK)
    if masks == ["defaultannot/a.png"]:
        (tmp_path / "in/default.txt").write_text("/default/a.jpg defaultannot/a.png\n")
    (tmp_path / "in" / "classes.txt").write_text("background\ncar\n")
    dataset = png.read(tmp_path / "in")
    assert areas(dataset) == {"car": ONES * len(masks)}
    assert {sample.image.source for sample in dataset} == {None}
    assert convert(tmp_path / "in", tmp_path / "out", "coco", verify=True).verified == len(masks)


def test_kitti_instances(tmp_path: Path) -> None:
    """Written as the benchmark describes it: semantic = instance // 256, and number 0 is no object."""
    photo(tmp_path / "training/image_2/a.png")
    save(tmp_path / "training/semantic/a.png", np.where(MASK, 26, 7))
    objects = np.where(MASK, 26 * 256 + 1, 7 * 256)
    objects[1, 1] = 26 * 256 + 2
    save(tmp_path / "training/instance/a.png", objects)
    dataset = png.read(tmp_path)
    (only,) = dataset
    assert dataset.labels == CITYSCAPES
    assert [(r.label, r.instance) for r in only.regions] == [(7, None), (26, 1), (26, 2)]
    assert only.masks.areas().tolist() == [24 - ONES, ONES - 1, 1]


def test_parts_that_hold_no_masks_are_counted(tmp_path: Path) -> None:
    plain(tmp_path / "train", {"a": MASK}, "background\ncar\n")
    photo(tmp_path / "test" / "images" / "b.jpg")
    dataset = png.read(tmp_path)
    assert len(list(dataset)) == 1
    assert dataset.skipped.examples == {"parts without masks": ["test"]}


def test_lists_of_parts(tmp_path: Path) -> None:
    root = plain(tmp_path, {"my photo": MASK, "b": MASK, "c": MASK}, "background\ncar\n")
    (root / "training.txt").write_text("my photo\nb\n")
    (root / "valid.txt").write_text("images/c.jpg\n")
    assert png.splits(root) == ("training", "valid")
    assert [s.id for s in png.read(root, split="training")] == ["b", "my photo"]
    (root / "valid.txt").write_text("c.jpg\nb.png\ngone\n")
    dataset = png.read(root, on_error="skip")
    assert [s.id for s in dataset] == ["b", "my photo", "c"]
    assert "images that two parts list, taken for the first (b: training, valid)" in said(dataset)
    assert dataset.skipped.examples["samples skipped"][0].endswith("neither an image nor a mask of that name")


def test_a_list_that_is_the_sum_of_others_says_nothing_new(tmp_path: Path) -> None:
    for name in "abc":
        photo(tmp_path / f"JPEGImages/{name}.jpg")
        save(tmp_path / f"SegmentationClass/{name}.png", MASK)
    (tmp_path / "labels.txt").write_text("background\ncar\n")
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for part, names in {"train": "a\nb\n", "val": "c\n", "trainval": "a\nb\nc\n"}.items():
        (lists / f"{part}.txt").write_text(names)
    dataset = png.read(tmp_path)
    assert png.splits(tmp_path) == ("train", "val")
    assert len(list(dataset)) == 3
    assert not dataset.notes


def test_masks_that_no_camvid_list_names_are_counted(tmp_path: Path) -> None:
    for name in ("a b", "c"):
        photo(tmp_path / f"train/{name}.png")
        save(tmp_path / f"trainannot/{name}.png", MASK)
    (tmp_path / "labels.txt").write_text("background\ncar\n")
    (tmp_path / "train.txt").write_text("/x/train/a b.png /x/trainannot/a b.png\n")
    dataset = png.read(tmp_path)
    assert [s.id for s in dataset] == ["a b"]
    assert dataset.skipped.examples == {"masks that no list names": ["trainannot/c.png"]}


# Datasets that are known.


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds", "color"])
def test_cityscapes_with_one_kind_of_masks(tmp_path: Path, kind: str) -> None:
    photo(tmp_path / "leftImg8bit/val/f/f_0_leftImg8bit.png")
    road, car = {"labelIds": (7, 26), "labelTrainIds": (0, 13), "color": (7, 26)}[kind]
    mask: Any = np.where(MASK, car, road)
    if kind == "color":
        table = np.array([label.color for label in CITYSCAPES.labels], np.uint8)
        mask = table[mask]
    save(tmp_path / f"gtFine/val/f/f_0_gtFine_{kind}.png", mask)
    dataset = png.read(tmp_path)
    assert areas(dataset) == {"road": 24 - ONES, "car": ONES}
    assert "named by that of Cityscapes" in said(dataset)
    photo(tmp_path / "leftImg8bit/val/f/f_1_leftImg8bit.png")
    (tmp_path / "gtFine/val/f/f_1_gtFine_polygons.json").write_text("{}")
    partly = png.read(tmp_path)
    if kind == "labelTrainIds":  # have labels of their own
        assert len(list(partly)) == 1
        assert partly.skipped.examples == {f"images without *_{kind}.png": ["val/f/f_1: there is polygons.json"]}
    else:
        with pytest.raises(FormatError, match=r"f_1_gtFine_polygons\.json: height must be"):
            list(partly)


def test_camvid_in_its_32_colours(tmp_path: Path) -> None:
    car, void = (CAMVID_32.by_name(name).color for name in ("Car", "Void"))
    photo(tmp_path / "train/a.png")
    save(tmp_path / "train_labels/a_L.png", np.where(MASK[..., None], car, void))
    dataset = png.read(tmp_path)
    assert dataset.labels == CAMVID_32
    assert areas(dataset) == {"Car": ONES}
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nAuto,64,0,128\nVoid,0,0,0\n")
    assert areas(png.read(tmp_path)) == {"Auto": ONES}


def test_camvid_of_segnet_is_named_where_its_void_is_seen(tmp_path: Path) -> None:
    photo(tmp_path / "train/a.png")
    save(tmp_path / "trainannot/a.png", np.where(MASK, 8, 11))
    dataset = png.read(tmp_path)
    assert dataset.labels == CAMVID
    assert areas(dataset) == {"Car": ONES}


def test_mapillary_vistas(tmp_path: Path) -> None:
    root = tmp_path / "training"
    for release in ("v1.2", "v2.0"):
        save(root / release / "labels" / "a.png", MASK * 2)
        numbers = np.where(MASK, 2 * 256, 0)
        numbers[1, 1] = 2 * 256 + 7
        numbers[0, 0] = 1  # a second piece of class 0
        save(root / release / "instances" / "a.png", numbers)
        config = '{"labels": [{"name": "sky", "instances": false}, {"name": "road"}, {"name": "car-%s"}, {"name": "void--unlabeled"}]}'
        (tmp_path / f"config_{release}.json").write_text(config % release)
    photo(root / "images" / "a.jpg")
    photo(tmp_path / "testing" / "images" / "b.jpg")
    dataset = png.read(tmp_path)
    (only,) = dataset
    names = [label.name for label in dataset.labels.labels]
    assert [(names[r.label], r.instance) for r in only.regions] == [
        ("sky", None),
        ("sky", None),
        ("car-v2.0", 0),
        ("car-v2.0", 7),
    ]
    assert only.masks.areas().tolist() == [24 - ONES - 1, 1, ONES - 1, 1]
    assert dataset.skipped.examples == {"parts without masks": ["testing"]}


def test_objects_in_colours_that_are_not_vocs(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "cvat-segmentation-mask", tmp_path / "x")
    path = tmp_path / "x" / "SegmentationObject" / "a.png"
    rgb = np.array(Image.open(path).convert("RGB"))
    Image.fromarray(rgb // 2 + np.uint8(1) * (rgb > 0)).save(path)
    (only,) = png.read(tmp_path / "x")
    assert sorted(only.masks.areas().tolist()) == [15, 20, 80]
    assert sorted(r.instance or 0 for r in only.regions) == [1, 2, 3]


@pytest.mark.parametrize("names", ["names: [background, car]\n", "names:\n  0: road\n  1: car\n"])
def test_ultralytics_semantic(tmp_path: Path, names: str) -> None:
    """``masks_dir`` stands for ``images`` in the paths, 255 is nobody's, and 0 is a class unless it is the background."""
    mask = MASK.copy()
    mask[0, 0] = 255
    for part, key in (("training", "a"), ("validation", "b")):
        photo(tmp_path / "images" / part / f"{key}.jpg")
        save(tmp_path / "annotations" / part / f"{key}.png", mask)
    config = "path: ade # root\ntrain: images/training\nval: images/validation\nmasks_dir: annotations\n"
    (tmp_path / "ade.yaml").write_text(config + names)
    dataset = png.read(tmp_path)
    assert png.splits(tmp_path) == ("training", "validation")
    assert [(sample.id, sample.image.name) for sample in dataset] == [("a", "a.jpg"), ("b", "b.jpg")]
    assert dataset.labels.ignore_id == 255
    has_background = "background" in names
    expected = {"car": 2 * ONES} | ({"255": 2} if has_background else {"road": 2 * (23 - ONES)})
    assert areas(dataset) == expected
    with pytest.raises(TargetError, match="ultralytics takes label maps"):
        png.write(dataset, tmp_path / "out", layout="ultralytics", masks="binary")
