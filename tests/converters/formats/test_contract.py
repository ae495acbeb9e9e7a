"""What every format promises: what it writes and says is not lost, any format gives back to any other, exactly."""

from __future__ import annotations

import importlib.util
import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foreign_files import MAKERS
from maskloop_converters import convert, write
from maskloop_converters import datasets as read_anywhere
from maskloop_converters.codecs.tfexample import RecordWriter, read_records
from maskloop_converters.errors import DataError, FormatError, LabelError, OutputExistsError
from maskloop_converters.masks import RunList
from maskloop_converters.registry import FORMATS, READ_ONLY, TARGETS, load_format
from maskloop_converters.report import WriteReport
from maskloop_converters.samples import Dataset, ImageRef, Label, LabelSet, Region, Sample


@dataclass(frozen=True)
class Variant:
    """A format with the options that make it hold everything."""

    format: str
    options: dict[str, Any]

    @property
    def there(self) -> bool:
        return importlib.util.find_spec(FORMATS[self.format]) is not None

    def write(self, dataset: Dataset, path: Path, **options: Any) -> WriteReport:
        report: WriteReport = load_format(self.format).write(dataset, path, **self.options, **options)
        return report

    def read(self, path: Path, **options: Any) -> Dataset:
        dataset: Dataset = load_format(self.format).read(path, **options)
        return dataset


VARIANTS = {
    name: variant
    for name, variant in {
        "png": Variant("png", {}),
        "png-binary": Variant("png", {"masks": "binary"}),
        "coco": Variant("coco", {}),
        "coco-uncompressed": Variant("coco", {"compressed": False}),
        "coco-polygons": Variant("coco", {"polygons": True}),
        "coco-panoptic": Variant("coco", {"kind": "panoptic"}),
        "tfrecord": Variant("tfrecord", {}),
        "tfrecord-panoptic": Variant("tfrecord", {"schema": "panoptic", "compression": "GZIP"}),
        "tfrecord-detection": Variant("tfrecord", {"schema": "detection", "shards": 3}),
        "tfrecord-tfds": Variant("tfrecord", {"schema": "tfds"}),
        "labelstudio": Variant("labelstudio", {}),
        "cvat": Variant("cvat", {}),
        "labelme": Variant("labelme", {}),
        "huggingface": Variant("huggingface", {}),
        "labelstudio-predictions": Variant("labelstudio", {"kind": "predictions", "encoding": "bitmask"}),
    }.items()
    if variant.there
}

#: Formats that have no place for everything: what they lose they count, and the rest they give back.
REDUCING = {"yolo": Variant("yolo", {}), "png-ultralytics": Variant("png", {"layout": "ultralytics"})}
EVERY = VARIANTS | REDUCING

OBJECTS = LabelSet(
    (
        Label(0, "background", (0, 0, 0)),
        Label(1, "car", (255, 0, 0), thing=True),
        Label(7, "Tür 門", (0, 255, 0), thing=False),
        Label(300, "tree"),
    ),
    ignore_id=255,
    background_id=0,
)


def picture(height: int, width: int, orientation: int = 1, kind: str = "PNG") -> bytes:
    """A picture that is height x width when it is upright."""
    shape = (width, height) if orientation > 4 else (height, width)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(np.full((*shape, 3), 90, np.uint8)).save(out, kind, exif=exif)
    return out.getvalue()


def make(
    name: str, masks: list[Any], regions: list[Region], *, size: tuple[int, int] | None = None, **other: Any
) -> Sample:
    arrays = [np.asarray(mask, bool) for mask in masks]
    height, width = size or arrays[0].shape
    runs = RunList.from_masks(arrays, height=height, width=width)
    fields = {"image": ImageRef(f"{name}.png", picture(height, width)), **other}
    return Sample(id=name, masks=runs, regions=tuple(regions), **fields)


RING = [[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
LEFT = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
RIGHT = [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
PARTS = [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
ALL = np.ones((3, 4))
NONE = np.zeros((3, 4))
DOT = [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]

NASTY = {
    sample.id: sample
    for sample in (
        make("empty", [], [], size=(3, 4)),
        make("full", [ALL], [Region(1)]),
        make("one pixel", [DOT], [Region(7)]),
        make("single", [[[1]]], [Region(1)]),
        make("hole", [RING], [Region(1)]),
        make("hole filled", [RING, DOT], [Region(1), Region(7)]),
        make("row", [[[1, 0, 1, 1, 0, 0, 1]]], [Region(1)]),
        make("column", [[[1], [0], [1], [1], [0]]], [Region(7)]),
        make("parts", [PARTS], [Region(1)]),
        make("overlap", [LEFT, RIGHT], [Region(1), Region(7)]),
        make("overlap of a class", [LEFT, RIGHT], [Region(1), Region(1)]),
        make("hidden", [DOT, ALL], [Region(1), Region(7)]),
        make("no pixels", [NONE, LEFT], [Region(1), Region(7)]),
        make("two of the same", [LEFT, LEFT], [Region(1), Region(1)]),
        make("order", [LEFT, DOT], [Region(7), Region(1)]),
        make("instances", [LEFT, PARTS], [Region(1, instance=2), Region(1, instance=9)]),
        make("crowd", [RING], [Region(1, crowd=True)]),
        make("large id", [LEFT], [Region(300)]),
        make("ignored", [DOT, LEFT], [Region(255), Region(1)]),
        make("background", [DOT, LEFT], [Region(0), Region(1)]),
        make("ignored alone", [ALL], [Region(255)]),
        make(
            "told",
            [LEFT, DOT],
            [
                Region(1, id="x7_Aß", score=0.25, origin="prediction", attributes={"lane": 2, "deep": {"a": [None]}}),
                Region(7, id="42", score=1.0, origin="manual"),
            ],
            attributes={"weather": "rain", "id": "clashes", "label": [1.5, "x"]},
        ),
        make("sub/folder näme", [LEFT], [Region(1)], image=ImageRef("a b/ü.門.png", picture(3, 4), uri="s3://b/x.png")),
        make("0017", [LEFT], [Region(1, id="1")]),
        make("17", [LEFT], [Region(1, id="1")]),
        make("same image", [LEFT], [Region(1)], image=ImageRef("17.png", picture(3, 4))),
        make(
            "upload",
            [LEFT],
            [Region(1)],
            image=ImageRef("n 1.png", picture(3, 4), uri="/data/upload/5/4fad3754-n%201.png"),
        ),
        make("absolute", [LEFT], [Region(1)], image=ImageRef("img/n.png", picture(3, 4), uri="/srv/img/n.png")),
        make("drive", [LEFT], [Region(1)], image=ImageRef("img/w.png", picture(3, 4), uri="C:\\img\\w.png")),
        make("file as folder", [LEFT], [Region(1)], image=ImageRef("x", picture(3, 4))),
        make("folder as file", [LEFT], [Region(1)], image=ImageRef("x/y.png", picture(3, 4))),
        make("told apart by folders", [LEFT], [Region(1)], image=ImageRef("val/17.png", picture(3, 4))),
        make("turned", [RING], [Region(1)], image=ImageRef("turned.jpg", picture(3, 4, 6, "JPEG"), exif_orientation=6)),
    )
}

DENSE = LabelSet((Label(0, "sky"), Label(1, "road"), Label(11, "void")), ignore_id=11)
DENSE_SAMPLES = [
    make("a", [LEFT, 1 - np.array(LEFT)], [Region(0), Region(1)]),
    make("b", [DOT, LEFT], [Region(1), Region(0)]),
    make("c", [], [], size=(2, 2)),
]

# The number that other tools ignore is a class like any other here, and no number is kept for what no region covers.
MANY = LabelSet.from_names([f"class {k}" for k in range(300)])
MANY_SAMPLES = [
    make("a", [DOT, LEFT], [Region(255), Region(254)]),
    make("b", [ALL], [Region(255)]),
    make("c", [LEFT, RIGHT], [Region(299), Region(255)]),
    make("d", [], [], size=(2, 2)),
]

DATASETS = {
    "nasty": Dataset(OBJECTS, list(NASTY.values()), split="val", attributes={"info": {"year": 2026}, "note": "x"}),
    "dense": Dataset(DENSE, DENSE_SAMPLES),
    "300 classes": Dataset(MANY, MANY_SAMPLES),
    "no samples": Dataset(DENSE, []),
}


def fields_of(sample: Sample) -> dict[str, Any]:
    """All that must survive, image bytes aside."""
    regions = [replace(region, attributes=dict(region.attributes)) for region in sample.regions]
    image = replace(sample.image, source=None)
    size = (sample.height, sample.width)
    return {"id": sample.id, "size": size, "image": image, "regions": regions, "attributes": dict(sample.attributes)}


def assert_same(before: Dataset, after: Dataset, *, images: bool = True) -> None:
    assert after.labels == before.labels
    assert (after.split, dict(after.attributes)) == (before.split, dict(before.attributes))
    for one, other in itertools.zip_longest(before, after):
        assert one is not None
        assert other is not None
        assert fields_of(other) == fields_of(one)
        assert other.masks == one.masks, one.id
        if images:
            assert other.image.read_bytes() == one.image.read_bytes(), one.id


def hop(variant: str, dataset: Dataset, path: Path) -> Dataset:
    report = VARIANTS[variant].write(dataset, path)
    assert not report.losses, report.losses.lines()
    assert report.samples == len(list(dataset))
    assert report.regions == sum(len(sample.regions) for sample in dataset)
    assert load_format(VARIANTS[variant].format).detect(path) is None
    return VARIANTS[variant].read(path)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(tmp_path: Path, variant: str, name: str) -> None:
    after = hop(variant, DATASETS[name], tmp_path / "out")
    assert_same(DATASETS[name], after)
    assert after.count == len(list(DATASETS[name]))
    assert after.format == VARIANTS[variant].format
    assert list(map(fields_of, after)) == list(map(fields_of, after))  # a second iteration reads anew


# The other variants meet each other in the chains.
FIRST = [name for name in VARIANTS if name in FORMATS]


@pytest.mark.parametrize("pair", list(itertools.permutations(FIRST, 2)), ids="-to-".join)
def test_pairs(tmp_path: Path, pair: tuple[str, str]) -> None:
    middle = hop(pair[0], DATASETS["nasty"], tmp_path / "first")
    assert_same(DATASETS["nasty"], hop(pair[1], middle, tmp_path / "second"))


def chains() -> Iterator[tuple[str, ...]]:
    """Chains of four: every format stands at every place once."""
    names = list(VARIANTS)
    for k in range(len(names)):
        yield tuple(names[(k + step) % len(names)] for step in range(4))


@pytest.mark.parametrize("chain", list(chains()), ids="-".join)
def test_chains_of_four(tmp_path: Path, chain: tuple[str, ...]) -> None:
    dataset = DATASETS["nasty"]
    for k, variant in enumerate(chain):
        dataset = hop(variant, dataset, tmp_path / str(k))
    assert_same(DATASETS["nasty"], dataset)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("variant", EVERY)
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, variant: str) -> None:
    for name in ("one", "two"):
        EVERY[variant].write(DATASETS["nasty"], tmp_path / name)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Samples with masks of any pixels, most of them busy, some of them over each other."""
    samples = []
    for k in range(draw(st.integers(0, 3))):
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        pixels = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
        masks = [np.array(draw(pixels)).reshape(height, width) for _ in range(draw(st.integers(0, 4)))]
        regions = [
            Region(
                draw(st.sampled_from([0, 1, 7, 255, 300])),
                id=draw(st.sampled_from(["", f"r{i}", str(i), str(i + 2**40)])),
                score=draw(st.none() | st.floats(0, 1)),
                crowd=draw(st.booleans()),
                instance=draw(st.none() | st.integers(0, 9)),
            )
            for i in range(len(masks))
        ]
        name = draw(st.sampled_from([f"s{k}é", str(k), str(5 - k)]))
        samples.append(make(name, masks, regions, size=(height, width)))
    return Dataset(OBJECTS, samples)


@pytest.mark.parametrize("variant", VARIANTS)
@given(dataset=datasets())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_masks_survive(tmp_path_factory: pytest.TempPathFactory, variant: str, dataset: Dataset) -> None:
    assert_same(dataset, hop(variant, dataset, tmp_path_factory.mktemp("any") / "out"))


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def emptied(data: bytes) -> bytes:
    return data[:0]


@pytest.mark.parametrize("damage", [truncated, zeroed, emptied, flipped])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_damaged_file_is_named_or_does_no_harm(
    tmp_path: Path, variant: str, damage: Callable[[bytes], bytes]
) -> None:
    """A damaged file is an error that names it, unless nothing but the image's pixels is amiss."""
    names = ("hole", "overlap", "told", "ignored")
    before = Dataset(OBJECTS, [NASTY[name] for name in names])
    root = tmp_path / "out"
    VARIANTS[variant].write(before, root)
    for name, data in files_of(root).items():
        if damage is flipped and not name.endswith(".png"):
            continue  # a text has no checksum
        file = root / name
        file.write_bytes(damage(data))
        error = ""
        try:
            assert_same(before, VARIANTS[variant].read(root), images=False)
        except DataError as raised:
            error = str(raised)
        assert not error or file.name in error
        file.write_bytes(data)
    assert_same(before, VARIANTS[variant].read(root))


@pytest.mark.parametrize("variant", EVERY)
def test_a_bad_sample_leaves_the_output_as_it_was(tmp_path: Path, variant: str) -> None:
    out = tmp_path / "out"
    good = Dataset(DENSE, DENSE_SAMPLES)
    EVERY[variant].write(good, out)
    before = files_of(out)
    with pytest.raises(OutputExistsError, match="overwrite"):
        EVERY[variant].write(good, out)
    unknown = Dataset(DENSE, [*DENSE_SAMPLES, make("bad", [LEFT], [Region(5)])])
    with pytest.raises(LabelError, match=r"sample bad.* 5"):
        EVERY[variant].write(unknown, out, overwrite=True)

    def interrupted() -> Iterator[Sample]:
        yield DENSE_SAMPLES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EVERY[variant].write(Dataset(DENSE, interrupted()), out, overwrite=True)
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    EVERY[variant].write(Dataset(DENSE, DENSE_SAMPLES[:1]), out, overwrite=True)
    assert [sample.id for sample in EVERY[variant].read(out)] == ["a"]


@pytest.mark.parametrize("options", [{"colored": True}, {"layout": "voc"}], ids=["colored", "voc"])
@pytest.mark.parametrize("with_index", [True, False])
def test_a_palette_in_another_order_is_never_read_as_other_classes(
    tmp_path: Path, options: dict[str, Any], with_index: bool
) -> None:
    """Optimisers sort palettes: the picture is the same, its numbers are others."""
    labels = LabelSet((Label(0, "background"), Label(1, "car", (200, 0, 0)), Label(2, "bus", (0, 200, 0))), None, 0)
    before = make("a", [LEFT, DOT], [Region(1), Region(2)])
    root = tmp_path / "out"
    load_format("png").write(Dataset(labels, [before]), root, **options)
    (mask,) = (path for path in root.rglob("a.png") if path.parent.name in ("masks", "SegmentationClass"))
    with Image.open(mask) as image:
        image.remap_palette([2, 0, 1]).save(mask)
    if not with_index:
        (root / "maskloop.jsonl").unlink()
    with pytest.raises(DataError, match=r"a\.png can be read in two ways"):
        list(load_format("png").read(root))
    (after,) = load_format("png").read(root, values="color")
    assert after.label_map(labels).tolist() == before.label_map(labels).tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_of_parts_is_one_dataset(tmp_path: Path, variant: str) -> None:
    for split, samples in (("train", DENSE_SAMPLES[:2]), ("val", DENSE_SAMPLES[2:])):
        VARIANTS[variant].write(Dataset(DENSE, samples, split=split), tmp_path / split)
    assert read_anywhere.detect(tmp_path) == VARIANTS[variant].format
    assert read_anywhere.splits(tmp_path) == ("train", "val")
    assert_same(Dataset(DENSE, DENSE_SAMPLES), read_anywhere.read(tmp_path))
    assert_same(Dataset(DENSE, DENSE_SAMPLES[2:], split="val"), read_anywhere.read(tmp_path, split="val"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_are_unique_within_their_part(tmp_path: Path, variant: str) -> None:
    """Equal ids in two parts are two samples: the later one has its part's name before it, in every hop from there."""
    for split in ("train", "val"):
        VARIANTS[variant].write(Dataset(DENSE, DENSE_SAMPLES, split=split), tmp_path / "parts" / split)
    dataset = read_anywhere.read(tmp_path / "parts")
    assert [sample.id for sample in dataset] == ["a", "b", "c", "val/a", "val/b", "val/c"]
    assert dataset.notes.total == 3
    after = hop(variant, dataset, tmp_path / "out")
    assert [sample.id for sample in after] == ["a", "b", "c", "val/a", "val/b", "val/c"]
    for before, found in zip([*DENSE_SAMPLES, *DENSE_SAMPLES], after, strict=True):
        assert found.masks == before.masks


MANY = LabelSet.from_names([f"class {k}" for k in range(300)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_class_255_of_300_is_a_class(tmp_path: Path, variant: str) -> None:
    """A fill value is never a class: pixels that no region covers have an id that none has."""
    samples = [make("a", [DOT, LEFT], [Region(255), Region(299)]), make("b", [RING], [Region(255)])]
    assert MANY.fill_id not in MANY.known_ids
    assert samples[1].label_map(MANY).tolist() == [[255, 255, 255, 300], [255, 300, 255, 300], [255, 255, 255, 300]]
    assert_same(Dataset(MANY, samples), hop(variant, Dataset(MANY, samples), tmp_path / "out"))


COLLIDING = [
    make(f"s{k}", [LEFT], [Region(k % 2)], image=ImageRef(name, picture(3, 4)))
    for k, name in enumerate(["x", "x/y.png", "x/y.jpg", "x.png", "x.png", "z/y.png", "z", "a/b/c.png", "a/b"])
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_that_collide_in_a_folder(tmp_path: Path, variant: str) -> None:
    """An image may be called as another one's folder, or as another image with another extension."""
    assert_same(Dataset(DENSE, COLLIDING), hop(variant, Dataset(DENSE, COLLIDING), tmp_path / "out"))


@pytest.mark.parametrize("variant", ["png", "coco", "coco-panoptic"])
def test_a_split_that_is_no_file_name_is_refused(tmp_path: Path, variant: str) -> None:
    for split in ("../x", "/tmp/x", "..", "a\\b", ""):
        with pytest.raises(DataError, match="split"):
            VARIANTS[variant].write(Dataset(DENSE, DENSE_SAMPLES, split=split), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variant", EVERY)
def test_no_other_format_claims_it(tmp_path: Path, variant: str) -> None:
    EVERY[variant].write(DATASETS["nasty"], tmp_path / "out")
    for name in {v.format for v in EVERY.values()} - {EVERY[variant].format}:
        reason = load_format(name).detect(tmp_path / "out")
        assert reason, name


@pytest.mark.parametrize("variant", EVERY)
def test_names_that_leave_the_output_are_refused(tmp_path: Path, variant: str) -> None:
    bad = make("a", [LEFT], [Region(1)], image=ImageRef("../a.png", picture(3, 4)))
    with pytest.raises(DataError, match=r"sample a: the file name '\.\./a\.png'"):
        EVERY[variant].write(Dataset(DENSE, [bad]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def rewritten(file: Path, change: Callable[[bytes], bytes]) -> bool:
    """Change the text of a file, in TFRecords record by record; return whether anything was changed."""
    before = file.read_bytes()
    if "tfrecord" in file.name or ".record" in file.name:
        out = io.BytesIO()
        with RecordWriter(out) as writer:
            for record in read_records(io.BytesIO(before)):
                writer.write(change(record))
        after = out.getvalue()
    else:
        after = change(before)
    file.write_bytes(after)
    return after != before


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_name_that_our_own_record_says_stays_inside_too(tmp_path: Path, variant: str) -> None:
    """Somebody may have written another one into it."""
    samples = [make(name, [LEFT], [Region(1)], image=ImageRef("same.png", picture(3, 4))) for name in ("1", "2")]
    out = tmp_path / "out"
    VARIANTS[variant].write(Dataset(DENSE, samples), out)
    # of the same length, as records have lengths in them
    said = re.compile(rb'("name": ?|&quot;name&quot;: ?|"name":)("|&quot;)same\.png')
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file() and path.suffix != ".png"]
    changed = [rewritten(file, lambda text: said.sub(rb"\1\2/etc/pwd", text)) for file in files]
    assert any(changed)
    found = list(VARIANTS[variant].read(out))
    assert len(found) == 2
    assert {sample.image.name for sample in found} <= {"same.png", "etc/pwd"}


def painted(sample: Sample, labels: LabelSet) -> dict[str, list[list[bool]]]:
    """What is seen of each label of objects, by its name."""
    ids = sample.label_map(labels)
    objects = [label for label in labels.labels if label.id not in (labels.ignore_id, labels.background_id)]
    return {label.name: (ids == label.id).tolist() for label in objects if (ids == label.id).any()}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("variant", REDUCING)
def test_what_a_reducing_format_does_not_count_as_lost_comes_back(tmp_path: Path, variant: str, name: str) -> None:
    """Sample by sample: pixels are those that were written unless a loss of pixels or of their order is counted."""
    before = NASTY[name]
    report = EVERY[variant].write(Dataset(OBJECTS, [before]), tmp_path / "out")
    after = EVERY[variant].read(tmp_path / "out")
    (sample,) = after
    kinds = " ".join(report.losses.counts)
    assert (sample.height, sample.width) == (before.height, before.width)
    assert sample.image.read_bytes() == before.image.read_bytes()
    if not any(word in kinds for word in ("pixels", "orders of overlapping")):
        assert painted(sample, after.labels) == painted(before, OBJECTS)
    told = [
        ("sample ids", sample.id == before.id),
        ("image names", sample.image.name == before.image.name),
        ("image addresses", sample.image.uri == before.image.uri),
        ("attributes of samples", dict(sample.attributes) == dict(before.attributes)),
        ("scores", {r.score for r in sample.regions} >= {r.score for r in before.regions if r.score is not None}),
        ("origins", {r.origin for r in sample.regions} >= {r.origin for r in before.regions if r.origin is not None}),
        ("crowd", any(r.crowd for r in sample.regions) == any(r.crowd for r in before.regions)),
        ("region ids", {r.id for r in sample.regions} >= {r.id for r in before.regions if r.id}),
    ]
    assert [kind for kind, kept in told if not kept and kind not in kinds] == []


@pytest.mark.parametrize("variant", REDUCING)
def test_what_a_reducing_format_holds_comes_back_in_every_hop_from_there(tmp_path: Path, variant: str) -> None:
    """Nothing is lost a second time, and the verified conversion finds what the writer says it holds."""
    VARIANTS["coco"].write(DATASETS["nasty"], tmp_path / "first")
    report = convert(
        tmp_path / "first",
        tmp_path / "second",
        EVERY[variant].format,
        verify=True,
        write_options=EVERY[variant].options,
    )
    assert report.verified == len(NASTY)
    assert report.written.losses
    once = EVERY[variant].read(tmp_path / "second")
    assert_same(once, hop("coco", once, tmp_path / "third"))
    again = convert(
        tmp_path / "third",
        tmp_path / "fourth",
        EVERY[variant].format,
        verify=True,
        write_options=EVERY[variant].options,
    )
    twice = EVERY[variant].read(tmp_path / "fourth")
    kinds = " ".join(again.written.losses.counts)
    assert "pixels" not in kinds
    assert "regions without" not in kinds
    found = {sample.id: sample for sample in twice}
    for one in once:
        other = found.pop(one.id)
        assert other.masks == one.masks
        assert [region.label for region in other.regions] == [region.label for region in one.regions]
    assert not found


@pytest.mark.parametrize("damage", [truncated, zeroed, emptied])
@pytest.mark.parametrize("variant", REDUCING)
def test_a_damaged_file_of_a_reducing_format_is_named_or_does_no_harm(
    tmp_path: Path, variant: str, damage: Callable[[bytes], bytes]
) -> None:
    EVERY[variant].write(Dataset(DENSE, DENSE_SAMPLES), tmp_path / "out")
    for name, data in files_of(tmp_path / "out").items():
        (tmp_path / "out" / name).write_bytes(damage(data))
        said, found = "", 0
        try:
            found = len(list(EVERY[variant].read(tmp_path / "out")))
        except DataError as error:
            said = str(error)
        assert Path(name).name in said or found == len(DENSE_SAMPLES)
        (tmp_path / "out" / name).write_bytes(data)


@pytest.mark.parametrize("variant", REDUCING)
def test_parts_of_a_reducing_format_are_one_dataset(tmp_path: Path, variant: str) -> None:
    """Written part by part, and drawn by a conversion."""

    def draw(**options: bool) -> None:
        format_, own = EVERY[variant].format, EVERY[variant].options
        convert(tmp_path / "coco", tmp_path / "drawn", format_, split=(60, 40), write_options=own, **options)

    for split, samples in (("train", DENSE_SAMPLES[:2]), ("val", DENSE_SAMPLES[1:])):
        EVERY[variant].write(Dataset(DENSE, samples, split=split), tmp_path / "parts" / split)
    VARIANTS["coco"].write(Dataset(DENSE, DENSE_SAMPLES * 1), tmp_path / "coco")
    draw(verify=True)
    for place, count in (("parts", 4), ("drawn", 3)):
        assert read_anywhere.detect(tmp_path / place) == EVERY[variant].format
        assert read_anywhere.splits(tmp_path / place) == ("train", "val")
        dataset = read_anywhere.read(tmp_path / place)
        assert len({sample.id for sample in dataset}) == count
        assert [label.name for label in dataset.labels.labels][:2] == ["sky", "road"]
        assert len(list(read_anywhere.read(tmp_path / place, split="val"))) == (2 if place == "parts" else 1)
    draw(overwrite=True)
    (tmp_path / "drawn" / "notes.md").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.md"):
        draw(overwrite=True)


# The formats whose images may be elsewhere.
REFERRING = [
    name
    for name in ("png", "png-binary", "coco", "coco-panoptic", "labelstudio", "cvat", "labelme", "huggingface")
    if name in VARIANTS
]


def elsewhere(folder: Path) -> Dataset:
    """Two images of one name, in folders of their own, far from the dataset."""
    samples = []
    for part in ("train", "val"):
        file = folder / part / "1.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(picture(3, 4, kind="PNG"))
        samples.append(make(part, [LEFT], [Region(1)], image=ImageRef(f"{part}/1.png", file)))
    return Dataset(DENSE, samples)


@pytest.mark.parametrize("variant", REFERRING)
def test_images_are_looked_for_where_the_user_says(tmp_path: Path, variant: str) -> None:
    before = elsewhere(tmp_path / "pictures")
    VARIANTS[variant].write(before, tmp_path / "out", images="reference")
    # What lies outside the dataset is not read because a file names it: anybody may have written that file.
    assert [sample.image.source for sample in VARIANTS[variant].read(tmp_path / "out")] == [None, None]
    found = list(VARIANTS[variant].read(tmp_path / "out", images_from=tmp_path / "pictures"))
    assert [sample.image.source for sample in found] == [sample.image.source for sample in before]
    assert [sample.image.name for sample in found] == ["train/1.png", "val/1.png"]
    # One file that both names end in is neither's.
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.png").write_bytes(picture(3, 4))
    with pytest.raises(DataError, match=r"/1\.png and .*/1\.png both lead to .*flat/1\.png"):
        list(VARIANTS[variant].read(tmp_path / "out", images_from=tmp_path / "flat"))


#: Datasets of the formats that are read only, as other tools save them: a format, and a function that saves one.
FOREIGN = [(name, save) for name, makers in MAKERS.items() for save in makers]
foreign = pytest.mark.parametrize(("name", "save"), FOREIGN, ids=[save.__name__ for _, save in FOREIGN])
Saves = Callable[[Path], Path]


def test_every_format_is_under_contract() -> None:
    assert {v.format for v in EVERY.values()} == set(TARGETS)
    assert set(MAKERS) == READ_ONLY == FORMATS.keys() - set(TARGETS)


@foreign
def test_what_others_saved_is_found_out_by_one_format(tmp_path: Path, name: str, save: Saves) -> None:
    root = save(tmp_path / "in")
    assert read_anywhere.detect(root) == name
    assert [other for other in FORMATS if load_format(other).detect(root) is None] == [name]
    for file in root.rglob("*.json"):
        assert read_anywhere.detect(file) == name
    reason = load_format(name).detect(tmp_path / "nothing")
    assert reason is not None
    assert "nothing" in reason


@foreign
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_others_saved_goes_through_every_format(tmp_path: Path, variant: str, name: str, save: Saves) -> None:
    before = read_anywhere.read(save(tmp_path / "in"))
    samples = list(before)
    assert before.count == len(samples) == 2
    assert all(sample.regions and sample.masks.areas().all() for sample in samples)
    assert list(map(fields_of, before)) == list(map(fields_of, samples))  # a second iteration reads anew
    assert_same(before, hop(variant, before, tmp_path / "out"))


@foreign
def test_parts_that_others_saved_are_one_dataset(tmp_path: Path, name: str, save: Saves) -> None:
    for part in ("train", "val"):
        save(tmp_path / part)
    dataset = read_anywhere.read(tmp_path, name)
    assert read_anywhere.splits(tmp_path, name) in ((), ("train", "val"))
    assert len({sample.id for sample in dataset}) == 4


@foreign
@pytest.mark.parametrize("damage", [truncated, zeroed, emptied])
def test_a_damaged_file_of_others_is_named_or_does_no_harm(
    tmp_path: Path, name: str, save: Saves, damage: Callable[[bytes], bytes]
) -> None:
    root = save(tmp_path / "in")
    before = read_anywhere.read(root)
    samples = list(before)
    for file, data in files_of(root).items():
        (root / file).write_bytes(damage(data))
        error = ""
        try:
            assert list(map(fields_of, read_anywhere.read(root, name))) == list(map(fields_of, samples))
        except DataError as raised:
            error = str(raised)
        assert not error or Path(file).name in error or str(root) in error
        (root / file).write_bytes(data)


@foreign
def test_images_of_others_are_looked_for_where_the_user_says(tmp_path: Path, name: str, save: Saves) -> None:
    root = save(tmp_path / "in")
    (tmp_path / "pictures").mkdir()
    for file in list(root.rglob("*.jpg")):
        file.rename(tmp_path / "pictures" / file.name)
    found = list(read_anywhere.read(root, name, images_from=tmp_path / "pictures"))
    assert [sample.image.source for sample in found] == [tmp_path / "pictures" / s.image.name for s in found]
    with pytest.raises(DataError, match=r"is not in .*--images-from"):
        list(read_anywhere.read(root, name, images_from=root))


@foreign
def test_names_of_others_stay_inside_the_dataset(tmp_path: Path, name: str, save: Saves) -> None:
    root = save(tmp_path / "in")
    for file in list(root.rglob("*.jpg")):
        file.rename(tmp_path / file.name)
    for file in root.rglob("*.json"):
        file.write_text(re.sub(r'("file_?name": ")', r"\1../", file.read_text()))
    dataset = read_anywhere.read(root, name, on_error="skip")
    assert all(sample.image.source is None for sample in dataset)
    assert all(".." not in sample.image.name for sample in dataset)


@pytest.mark.parametrize("name", sorted(READ_ONLY))
def test_what_is_read_only_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=f"{name} is read, not written; written are: png, coco"):
        write(Dataset(DENSE, DENSE_SAMPLES), tmp_path / "out", name)
    VARIANTS["coco"].write(Dataset(DENSE, DENSE_SAMPLES), tmp_path / "in")
    with pytest.raises(FormatError, match=f"{name} is read, not written"):
        convert(tmp_path / "in", tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
