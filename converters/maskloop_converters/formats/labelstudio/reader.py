"""Reading Label Studio's JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...codecs import brush_strokes, png, studio_rle
from ...errors import CodecError, DataError, FormatError, LabelError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, Soft
from ...report import ErrorPolicy, OnError
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample, SoftEdge
from .. import coco
from ..image_files import ImageFinder, read_address
from ..images import probe
from ..labels import label_names, labels_from_json, read_labels
from ..parts import SKIPPED
from ..records import attributes, score, whole_number
from . import stacking
from .config import parse
from .shapes import majority, polygon_percent, rectangle_percent
from .tasks import (
    DEFAULT_CONTROL,
    DEFAULT_IMAGE,
    DEFAULT_KEY,
    NAMESPACE,
    OURS,
    Drawn,
    Shape,
    Task,
    bare_value,
    facts_of,
    image_key,
    image_name,
    shapes,
    tasks,
)

Choice = Literal["latest", "ground-truth", "all", "majority"]
Use = Literal["auto", "annotations", "predictions", "drafts"]

TASKS, CONFIG, LABELS = "tasks.json", "label_config.xml", "labels.json"
_HEAD = 1 << 16
_ORIGINS = ("manual", "prediction", "prediction-changed")
_ITEM_KEYS = frozenset(
    {"id", "value", "score", "origin", "original_width", "original_height", "image_rotation", "meta", "type"}
    | {"from_name", "to_name"}
)


def detect(path: Path) -> str | None:
    """Return None if ``path`` is Label Studio's JSON or a folder of it, else the reason why not."""
    path = Path(path)
    try:
        files = _files(path)
        with files[0].open("rb") as file:
            head = file.read(_HEAD).decode("utf-8-sig", errors="replace").lstrip()
    except (OSError, FormatError) as error:
        return str(error)
    if not head.startswith(("[", "{")):
        return f"{files[0]} is no JSON list or object"
    if head.startswith("{") and coco.detect(files[0]) is None:
        return f"{files[0]} is a COCO file"
    if head.replace(" ", "") in ("[]", "[]\n"):
        return None
    if any(f'"{key}"' in head for key in ("data", "annotations", "predictions", "annotation_id", "result")):
        return None
    return f"{files[0]} holds no tasks: 'data', 'annotations', 'predictions', 'annotation_id' and 'result' are missing"


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the parts that a dataset has; Label Studio's files have none."""
    del path
    return ()


def read(
    path: Path,
    *,
    labels: LabelsFrom = None,
    label_config: Annotated[
        Path | None,
        Option("The project's label config (XML), for labels, their order and colours.", metavar="FILE"),
    ] = None,
    images_from: ImagesFrom = None,
    use: Annotated[Use, Option("What gives the masks; 'auto' takes annotations where there are any.")] = "auto",
    annotations: Annotated[Choice, Option("Which annotation of a task counts.")] = "latest",
    soft: Soft = False,
    on_error: OnError = "fail",
) -> Dataset:
    """Return a dataset of Label Studio tasks.

    BrushLabels, BitmaskLabels, PolygonLabels and RectangleLabels become masks; other results are kept as attributes
    (``attributes["labelstudio"]`` of sample or region). A region with two labels becomes two regions.

    Args:
        path: a JSON file (export JSON, JSON_MIN, tasks for import, predictions, answers of the API), a folder that
            :func:`write` made, or a folder of such files (what a target storage holds).
        labels: the classes, or a label list file. By default those of ``label_config``, of the files beside that
            :func:`write` made, or else every label in the data, sorted by name.
        label_config: the project's label config (XML); a control it does not know is an error.
        images_from: the folder that has the images; by default they are looked for beside the JSON. Uploads are found under
            their stored name and under the original one.
        use: what gives the masks. 'auto': annotations if there is one in the data, else predictions.
        annotations: which of several a task has. 'latest' changed; 'ground-truth': the latest that is marked so; 'all':
            a sample each; 'majority': of each label the pixels that more than half of the annotations have.
        soft: keep the antialiased edges of brushes (:class:`SoftEdge`); masks are what is above 127 either way.
        on_error: 'skip' leaves out regions (tasks, where nothing of them can be read) and counts them in
            :attr:`Dataset.skipped`. Tasks with nothing to use are always left out and counted there.

    Raises:
        FormatError: not such JSON. While iterating: a mask that cannot be decoded or is of another size than its image,
            an unknown label or control, two masks of one id; the message names file, task and region.
    """
    path = Path(path)
    files = _files(path)
    lists = beside(path)
    root = path if path.is_dir() else path.parent
    config_file = label_config or (lists[CONFIG] if lists[CONFIG].is_file() else None)
    config = parse(_read_text(Path(config_file)), str(config_file)) if config_file else None
    record: dict[str, Any] = {}
    if lists[LABELS].is_file():
        try:
            record = json.loads(_read_text(lists[LABELS]))
            own = labels_from_json(record)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{lists[LABELS]}: not a label list: {error}") from error
        if labels is None and label_config is None:
            labels = own
    if isinstance(labels, Path):
        labels = read_labels(labels)
    policy = ErrorPolicy(on_error)
    finder = ImageFinder([Path(images_from)] if images_from is not None else [root / "images", root])
    survey = _survey(files) if use == "auto" or (labels is None and config is None) else None
    if labels is None:
        names = sorted(survey.names) if survey else []
        labels = config.labels if config else LabelSet(tuple(Label(i, name) for i, name in enumerate(names)))
    if use == "auto":
        use = "annotations" if survey is None or survey.annotated or not survey.predicted else "predictions"
    split = record.get("split")
    reader = _Reader(
        labels=labels,
        ids={name: label_id for label_id, name in label_names(labels).items()},
        controls=config.controls if config and label_config else None,
        image_keys=config.images if config else {},
        finder=finder,
        use=use,
        choice=annotations,
        soft=soft,
        policy=policy,
    )
    return Dataset(
        labels=labels,
        samples=_Samples(files, reader),
        format="labelstudio",
        count=survey.count(use, annotations) if survey and on_error == "fail" else None,
        split=split if isinstance(split, str) else None,
        attributes=attributes(record.get("attributes"), str(lists[LABELS])),
        skipped=policy.skipped,
    )


def _files(path: Path) -> list[Path]:
    """Return the JSON files of a dataset; FormatError if there is none."""
    if path.is_file():
        if path.suffix.lower() in (".json", ".jsonl"):
            return [path]
        raise FormatError(f"{path} is not called .json")
    if not path.is_dir():
        raise FormatError(f"there is no {path}")
    if (path / TASKS).is_file():
        return [path / TASKS]
    # A target storage of Label Studio gets one file an annotation, called by its number.
    files = sorted(
        file
        for file in path.iterdir()
        if file.is_file() and (file.name.isdecimal() or (file.suffix == ".json" and file.name != LABELS))
    )
    if not files:
        raise FormatError(f"{path} holds neither {TASKS} nor other JSON files")
    return files


def beside(path: Path) -> dict[str, Path]:
    """Return where the label config and the label list of a dataset are, in its folder or beside its file."""
    if path.suffix == ".json" and not path.is_dir():
        return {name: path.with_name(f"{path.stem}.{name}") for name in (CONFIG, LABELS)}
    return {name: path / name for name in (CONFIG, LABELS)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot read the file: {error}") from error


@dataclass(slots=True)
class _Survey:
    """What a first pass over the files sees."""

    names: set[str] = field(default_factory=set)
    annotated: int = 0
    annotations: int = 0
    predicted: int = 0

    def count(self, use: Use, choice: Choice) -> int | None:
        """Return how many samples a reader will give, None where that is not known."""
        if use == "predictions":
            return self.predicted
        if use != "annotations" or choice == "ground-truth":
            return None
        return self.annotations if choice == "all" else self.annotated


def _survey(files: list[Path]) -> _Survey:
    """Return the labels in use and what there is to read; what is wrong is for the reading itself to say."""
    seen = _Survey()
    for file in files:
        for task in tasks(file, brushes=False):
            if isinstance(task, FormatError):
                continue
            done = sum(not drawn.cancelled for drawn in task.annotations)
            seen.annotations += done
            seen.annotated += done > 0
            seen.predicted += bool(task.predictions)
            for drawn in (*task.annotations, *task.predictions, *task.drafts):
                for shape in shapes(drawn.result, task.where)[0]:
                    if isinstance(shape, Shape):
                        seen.names.update(shape.names)
    return seen


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all files, ids checked to be unique."""

    files: list[Path]
    reader: _Reader

    def __iter__(self) -> Iterator[Sample]:
        policy = self.reader.policy
        policy.skipped.clear()
        seen: set[str] = set()
        for file in self.files:
            for number, task in enumerate(tasks(file)):
                with policy.record(SKIPPED):
                    if isinstance(task, FormatError):
                        raise task
                    for sample in self.reader.samples(task, f"{file.stem}-{number}"):
                        if sample.id in seen:
                            raise FormatError(f"{task.where}: the task id {sample.id} stands twice")
                        seen.add(sample.id)
                        yield sample


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns tasks into samples.

    Attributes:
        labels: the classes.
        ids: of the labels by name.
        controls: the names that ``from_name`` may have, None for any.
        image_keys: name of an Image object -> key of the task's data.
        finder: finds the images.
        use: what gives the masks.
        choice: which of several annotations.
        soft: keep soft edges.
        policy: what happens to a region or task that is wrong.
    """

    labels: LabelSet
    ids: Mapping[str, int]
    controls: Mapping[str, str] | None
    image_keys: Mapping[str, str]
    finder: ImageFinder
    use: Use
    choice: Choice
    soft: bool
    policy: ErrorPolicy

    def samples(self, task: Task, fallback_id: str) -> Iterator[Sample]:
        """Yield the sample of a task, none where it has nothing to use, several for 'all'."""
        chosen = self._chosen(task)
        if not chosen:
            self.policy.skipped.add(f"tasks without {self.use} to use", task.where)
            return
        ours = _ours(task.meta)
        sample_id = ours.get("id")
        sample_id = sample_id if isinstance(sample_id, str) else task.id or fallback_id
        for drawn in chosen if self.choice == "all" and self.use == "annotations" else [None]:
            if drawn is not None:
                name = sample_id if len(chosen) == 1 else f"{sample_id}-annotation-{drawn.name}"
                yield self._sample(task, [drawn], name, ours)
            else:
                yield self._sample(task, chosen, sample_id, ours)

    def _chosen(self, task: Task) -> list[Drawn]:
        skipped = self.policy.skipped
        if self.use == "drafts":
            return _newest(task.drafts)
        if self.use == "predictions":
            return _newest(task.predictions)
        done = [drawn for drawn in task.annotations if not drawn.cancelled]
        skipped.add("annotations that were cancelled", task.where, len(task.annotations) - len(done))
        if self.choice == "ground-truth":
            done = [drawn for drawn in done if drawn.facts.get("ground_truth") is True]
        return done if self.choice in ("all", "majority") else _newest(done)

    def _sample(self, task: Task, chosen: list[Drawn], sample_id: str, ours: dict[str, Any]) -> Sample:
        where = task.where
        image, size, facts = self._image(task, chosen, sample_id, ours)
        task_facts = facts_of(task.facts)
        data = {k: v for k, v in task.data.items() if k != facts.get("image_key", DEFAULT_KEY)}
        meta = {k: v for k, v in task.meta.items() if k != OURS}
        facts |= {k: v for k, v in (("task", task_facts), ("data", data), ("meta", meta)) if v}
        kind = self.use.removesuffix("s")
        drawings = []
        for drawn in chosen:
            place = f"{where}, {kind} {drawn.name}" if drawn.name else where
            found, others = shapes(drawn.result, place)
            drawings.append(self._stacked(*self._regions(found, size, place), ours, place))
            if others:
                facts.setdefault("results", []).extend(others)
        described = [facts_of(drawn.facts) for drawn in chosen]
        if any(described):
            facts[kind if len(chosen) == 1 else f"{kind}s"] = described[0] if len(chosen) == 1 else described
        regions, masks = drawings[0] if len(drawings) == 1 else self._vote(drawings, size)
        extra = attributes(ours.get("attributes"), where)
        return Sample(sample_id, image, masks, tuple(regions), {**extra, **({NAMESPACE: facts} if facts else {})})

    def _image(
        self, task: Task, chosen: list[Drawn], sample_id: str, ours: dict[str, Any]
    ) -> tuple[ImageRef, tuple[int, int], dict[str, Any]]:
        """Return the image, its (height, width), and the facts about it that are not the default."""
        where = task.where
        items = [item for drawn in chosen for item in drawn.result if isinstance(item, dict)]
        to_name = next((item["to_name"] for item in items if isinstance(item.get("to_name"), str)), None)
        key = image_key(task.data, self.image_keys, to_name, where) if task.data else DEFAULT_KEY
        url = task.data.get(key)
        if task.data and not isinstance(url, str):
            raise FormatError(f"{where}: data[{key!r}] is the address of the image, received {url!r:.80}")
        facts = {"image_key": key} if key != DEFAULT_KEY else {}
        known = ours.get("image")
        orientation = 1
        if isinstance(known, dict) and known.get("url") == url and isinstance(known.get("name"), str):
            name, uri = known["name"], known.get("uri")
            orientation = whole_number(known.get("exif_orientation", 1), f"{where}: exif_orientation")
        else:
            known = {}
            name, uri = image_name(url or "") or f"{sample_id}.png", url
        source: Path | bytes | None
        if url and url.startswith("data:"):
            uri, source = None, _data_url(url, where)
        else:
            # In what we wrote, the image's file may have a name that is not in its address.
            texts = [text for text in (known.get("file"), known.get("name"), url or name) if isinstance(text, str)]
            found = (self.finder.find(read_address(text), where) for text in texts)
            source = next((path for path in found if path is not None), None)
        stated = _stated_size(items, where) or _size(ours.get("size"), where)
        if source is None and stated is None:
            raise FormatError(
                f"{where}: the size of its image is unknown: no region states it, and "
                + self.finder.missing(f"the image {url or name}")
            )
        if source is None:
            return ImageRef(name, None, uri, orientation), stated or (0, 0), facts
        info = probe(source, where)
        if stated is not None and stated != (info.height, info.width):
            raise FormatError(
                f"{where}: the image {name} is {info.width} x {info.height} pixels (upright), its regions say "
                f"{stated[1]} x {stated[0]}; is it the same image, and were masks made after EXIF rotation?"
            )
        return ImageRef(name, source, uri, info.orientation), (info.height, info.width), facts

    def _regions(
        self, found: list[Shape | FormatError], size: tuple[int, int], where: str
    ) -> tuple[list[Region], RunList, list[str]]:
        """Return an annotation's regions in the order of its list, their masks, and what the editor draws each as."""
        height, width = size
        shapes_ok: list[tuple[Shape, str]] = []
        for number, shape in enumerate(found):
            with self.policy.record("regions skipped"):
                if isinstance(shape, FormatError):
                    raise shape
                place = f"{where}, region {shape.item.get('id') or number}"
                self._check(shape, size, place)
                shapes_ok.append((shape, place))
        masks, faults = self._masks(shapes_ok, height, width)
        regions: list[Region] = []
        rows: list[int] = []
        for row, (shape, place) in enumerate(shapes_ok):
            with self.policy.record("regions skipped"):
                if row in faults:
                    raise FormatError(f"{place}: {faults[row]}") from faults[row]
                for region in self._records(shape, size, place):
                    regions.append(region)
                    rows.append(row)
        kinds = [_drawn_as(shapes_ok[row][0].item["value"]) for row in rows]
        return regions, masks if rows == list(range(len(masks))) else masks.select(rows), kinds

    def _stacked(
        self, regions: list[Region], masks: RunList, kinds: list[str], ours: Mapping[str, Any], where: str
    ) -> tuple[list[Region], RunList]:
        """Return an annotation's regions in drawing order, without rectangles round what has a mask."""
        outdone = set(stacking.outdone_rectangles(regions, masks))
        for k in sorted(outdone):
            self.policy.skipped.add("rectangles round what has a mask of the same label", f"{where}: {regions[k].id}")
        order = stacking.drawing_order(regions, masks, kinds, as_listed=ours.get(stacking.AS_LISTED))
        order = [k for k in order if k not in outdone]
        return [regions[k] for k in order], masks.select(order)

    def _check(self, shape: Shape, size: tuple[int, int], where: str) -> None:
        item = shape.item
        own = _size([item.get("original_height"), item.get("original_width")], where)
        if own is not None and own != size:
            raise FormatError(
                f"{where}: original_width x original_height is {own[1]} x {own[0]}, the image is {size[1]} x {size[0]}"
            )
        if item.get("image_rotation"):
            raise FormatError(
                f"{where}: image_rotation is {item['image_rotation']!r}; masks of images turned in the editor are not "
                "read, as their frame is not defined. Turn the image back and submit again"
            )
        if self.controls is not None and item.get("from_name") not in self.controls:
            raise FormatError(
                f"{where}: the label config has no control {item.get('from_name')!r}; there are: "
                f"{', '.join(self.controls)}"
            )
        if not shape.names:
            raise LabelError(f"{where}: the region has no label; give it one in the editor")
        for name in shape.names:
            if name not in self.ids:
                raise LabelError(f"{where}: no label is named {name!r}; there are: {', '.join(self.ids)}")

    def _masks(
        self, shapes_ok: list[tuple[Shape, str]], height: int, width: int
    ) -> tuple[RunList, dict[int, DataError]]:
        """Return the mask of every shape, and by row what is wrong with one; all brushes are decoded together."""
        values = [shape.item["value"] for shape, _ in shapes_ok]
        if all(map(_is_brush, values)):
            try:
                return studio_rle.decode([value["rle"] for value in values], height, width), {}
            except CodecError:
                pass  # one of them is wrong: read one by one below, to know which
        rows: list[RunList] = []
        faults: dict[int, DataError] = {}
        for row, value in enumerate(values):
            try:
                rows.append(_mask(value, height, width))
            except DataError as error:
                faults[row] = error
                rows.append(RunList.from_rows([np.array([height * width])], height=height, width=width))
        return RunList.concatenate(rows), faults

    def _records(self, shape: Shape, size: tuple[int, int], where: str) -> list[Region]:
        """Return one region a label."""
        item = shape.item
        ours = _ours(item.get("meta"))
        kind = ours.get("type", item.get("type"))
        facts = {k: v for k, v in item.items() if k not in _ITEM_KEYS and v is not None}
        for key, default in (("from_name", DEFAULT_CONTROL), ("to_name", DEFAULT_IMAGE)):
            if item.get(key, default) != default:
                facts[key] = item[key]
        if kind != "brushlabels":
            facts["type"] = kind
        meta = item.get("meta")
        if isinstance(meta, dict) and (rest := {k: v for k, v in meta.items() if k != OURS}):
            facts["meta"] = rest
        if value := bare_value(item["value"]):
            facts["value"] = value
        if shape.companions:
            facts["results"] = shape.companions
        region_id = ours.get("id", item.get("id"))
        region_id = "" if region_id is None else str(region_id)
        origin = item.get("origin")
        instance = ours.get("instance")
        extra = attributes(ours.get("attributes"), where)
        base = Region(
            label=0,
            id=region_id,
            score=score(item.get("score"), where),
            crowd=ours.get("crowd") is True,
            instance=None if instance is None else whole_number(instance, f"{where}: instance"),
            origin=origin if origin in _ORIGINS else None,
            edge=self._edge(item["value"], size) if self.soft else None,
        )
        regions = []
        for number, name in enumerate(shape.names):
            own = dict(facts)
            if len(shape.names) > 1:
                own["labels"] = shape.names
            regions.append(
                replace(
                    base,
                    label=self.ids[name],
                    id=region_id if not number else f"{region_id}:{name}",
                    attributes={**extra, **({NAMESPACE: own} if own else {})},
                )
            )
        return regions

    def _edge(self, value: dict[str, Any], size: tuple[int, int]) -> SoftEdge | None:
        alpha = _opacity(value, *size)
        if alpha is None:
            return None
        flat = alpha.ravel()
        positions = np.flatnonzero((flat > 0) & (flat < 255))
        return SoftEdge(positions, flat[positions]) if positions.size else None

    def _vote(
        self, drawings: list[tuple[list[Region], RunList]], size: tuple[int, int]
    ) -> tuple[list[Region], RunList]:
        """Return what more than half of the drawings agree on: at most one region a label, in the label set's order."""
        height, width = size
        regions: list[Region] = []
        rows: list[RunList] = []
        for label in self.labels.labels:
            parts = []
            for drawn, masks in drawings:
                own = [k for k, region in enumerate(drawn) if region.label == label.id]
                parts.append(masks.select(own).union([0] * len(own), 1))
            mask = majority(parts)
            if mask.areas()[0]:
                regions.append(Region(label.id, id=f"majority-{label.name}"))
                rows.append(mask)
        return regions, RunList.concatenate(rows) if rows else RunList.empty(height, width)


def _newest(drawn: list[Drawn]) -> list[Drawn]:
    return [max(drawn, key=lambda d: d.age)] if drawn else []


def _ours(meta: Any) -> dict[str, Any]:
    """Return what we wrote below ``meta``, {} where nothing is."""
    ours = meta.get(OURS) if isinstance(meta, dict) else None
    return ours if isinstance(ours, dict) else {}


def _size(pair: Any, where: str) -> tuple[int, int] | None:
    """Return (height, width), None where not both are given."""
    if not isinstance(pair, list) or len(pair) != 2 or None in pair:
        return None
    height, width = (
        whole_number(int(v) if isinstance(v, float) and v.is_integer() else v, f"{where}: size") for v in pair
    )
    if not height or not width:
        raise FormatError(f"{where}: the image is {width} x {height} pixels")
    return height, width


def _stated_size(items: list[dict[str, Any]], where: str) -> tuple[int, int] | None:
    """Return the size that the first region with one states; the others are compared with it one by one."""
    for item in items:
        size = _size([item.get("original_height"), item.get("original_width")], where)
        if size is not None:
            return size
    return None


def _drawn_as(value: Mapping[str, Any]) -> str:
    """Return what the editor draws a region as, whatever its result is called: a bitmask, a brush or an outline."""
    return "bitmask" if "imageDataURL" in value else "brush" if "rle" in value or "touches" in value else "outline"


def _is_brush(value: Mapping[str, Any]) -> bool:
    return "rle" in value and "touches" not in value


def _mask(value: dict[str, Any], height: int, width: int) -> RunList:
    """Return the mask of one result's value."""
    if _is_brush(value):
        return studio_rle.decode([value["rle"]], height, width)
    alpha = _opacity(value, height, width)
    if alpha is not None:
        return RunList.from_masks([alpha > 127], height=height, width=width)
    if "points" in value:
        return polygon_percent(value["points"], height, width)
    return rectangle_percent(value, height, width)


def _opacity(value: dict[str, Any], height: int, width: int) -> NDArray[np.uint8] | None:
    """Return the opacity of a brush, bitmask or draft: uint8 (height, width); None for outlines."""
    if "imageDataURL" in value:
        return _png_alpha(value["imageDataURL"], height, width)
    below = studio_rle.decode_alpha(value["rle"], height, width) if value.get("rle") or _is_brush(value) else None
    if "touches" not in value:
        return below
    touches = value["touches"]
    if (
        height * width > png.MAX_PIXELS
        or not isinstance(touches, list)
        or not all(isinstance(t, dict) for t in touches)
    ):
        raise CodecError(f"touches are a list of strokes on at most {png.MAX_PIXELS} pixels, received {touches!r:.80}")
    return brush_strokes.rasterise(touches, height, width, below)


def _data_url(url: Any, where: str) -> bytes:
    head, _, body = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise FormatError(f"{where}: expected 'data:image/...;base64,...', received {url!r:.60}")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{where}: the data URL is no base64: {error}") from error


def _png_alpha(url: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return the opacity of a BitmaskLabels value: uint8 (height, width)."""
    image = png.read(_data_url(url, "imageDataURL"), max_pixels=height * width)
    if image.pixels.shape[:2] != (height, width):
        raise CodecError(
            f"the bitmask is {image.pixels.shape[1]} x {image.pixels.shape[0]}, expected {width} x {height}"
        )
    if image.kind in ("rgba", "grey-alpha"):
        return np.ascontiguousarray(image.pixels[..., -1])
    if image.kind == "palette" and image.palette_alpha is not None:
        table = np.full(256, 255, np.uint8)
        table[: image.palette_alpha.size] = image.palette_alpha
        opacity: NDArray[np.uint8] = table[image.pixels]
        return opacity
    raise CodecError(f"the bitmask is a {image.kind} PNG without opacity; its opacity is the mask")
