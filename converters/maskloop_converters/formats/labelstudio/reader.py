"""Reading Label Studio's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from ...errors import FormatError, LabelError
from ...masks import RunList
from ...options import ImagesFrom, LabelsFrom, Option, Soft
from ...report import ErrorPolicy, OnError
from ...samples import Dataset, ImageRef, Label, LabelSet, Region, Sample
from ..image_files import ImageFinder, read_address
from ..images import probe
from ..label_files import read_labels
from ..labels import label_names, labels_from_json
from ..parts import SKIPPED
from ..records import attributes, score, whole_number
from . import stacking
from .choosing import Choice, Use, chosen, vote
from .config import StudioConfig, parse
from .decoding import decode, image_of_data_url, soft_edge
from .files import CONFIG, LABELS, files_of, lists_beside, read_text, survey
from .results import REGIONS_SKIPPED, Shape, bare_value, shapes
from .task_images import TaskImage, images_of
from .tasks import DEFAULT_CONTROL, DEFAULT_IMAGE, DEFAULT_KEY, NAMESPACE, OURS, Drawn, Task, facts_of, tasks_of

_ORIGINS = ("manual", "prediction", "prediction-changed")
_ITEM_KEYS = frozenset(
    {"id", "value", "score", "origin", "original_width", "original_height", "image_rotation", "meta", "type"}
    | {"from_name", "to_name", "item_index"}
)


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

    BrushLabels, BitmaskLabels, PolygonLabels, RectangleLabels and EllipseLabels become masks, as do Brush, Polygon and the
    like beside Labels; other regions are counted, other results are kept as attributes (``attributes["labelstudio"]`` of
    sample or region). A region with two labels becomes two regions. A task with several images becomes a sample an image,
    called TASK-IMAGE. Regions come in the order in which they are drawn (:mod:`.stacking`).

    Args:
        path: a JSON file (export JSON, JSON_MIN, tasks for import, predictions, answers of the API), a folder that
            :func:`write` made, or a folder of such files (what a target storage holds).
        labels: the classes, or a label list file. By default those of ``label_config``, of the files beside that
            :func:`write` made, or else every label in the data, sorted by name.
        label_config: the project's label config (XML); a control it does not know is an error.
        images_from: the folder that has the images; by default they are looked for beside the JSON and in ``images``
            there. Uploads are found under their stored name and under the original one.
        use: what gives the masks. 'auto': annotations if there is one in the data, else predictions.
        annotations: which of several a task has. 'latest' changed; 'ground-truth': the latest that is marked so; 'all':
            a sample each; 'majority': of each label the pixels that more than half of the annotations have.
        soft: keep the antialiased edges of brushes (:class:`SoftEdge`); masks are what is above 127 either way.
        on_error: 'skip' leaves out regions (tasks, where nothing of them can be read) and counts them in
            :attr:`Dataset.skipped`. Tasks with nothing to use are always left out and counted there, as are regions that
            are no masks.

    Raises:
        FormatError: not such JSON. While iterating: a mask that cannot be decoded or is of another size than its image,
            an unknown label or control, two masks of one id, an image that may be one of two; the message names file,
            task and region.
    """
    path = Path(path)
    files = files_of(path)
    beside = lists_beside(path)
    config_file = label_config or (beside[CONFIG] if beside[CONFIG].is_file() else None)
    config = parse(read_text(Path(config_file)), str(config_file)) if config_file else None
    record: dict[str, Any] = {}
    if beside[LABELS].is_file():
        try:
            record = json.loads(read_text(beside[LABELS]))
            own = labels_from_json(record)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{beside[LABELS]}: not a label list: {error}") from error
        if labels is None and label_config is None:
            labels = own
    if isinstance(labels, Path):
        labels = read_labels(labels)
    policy = ErrorPolicy(on_error)
    seen = survey(files, config) if use == "auto" or config is None else None
    if labels is None:
        names = sorted(seen.names) if seen else []
        labels = config.labels if config else LabelSet(tuple(Label(i, name) for i, name in enumerate(names)))
    if use == "auto":
        use = "annotations" if seen is None or seen.annotated or not seen.predicted else "predictions"
    root = path if path.is_dir() else path.parent
    finder = ImageFinder([Path(images_from)] if images_from is not None else [root / "images", root])
    for address in seen.images.get(use, []) if seen else ():
        finder.foresee(address)
    split = record.get("split")
    reader = _Reader(
        labels=labels,
        ids=_ids(labels, config),
        config=config,
        controls_given=label_config is not None,
        to_names=tuple(seen.to_names) if seen else (),
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
        count=seen.count(use, annotations) if seen and on_error == "fail" else None,
        split=split if isinstance(split, str) else None,
        attributes=attributes(record.get("attributes"), str(beside[LABELS])),
        skipped=policy.skipped,
        notes=policy.notes,
    )


def _ids(labels: LabelSet, config: StudioConfig | None) -> dict[str, int]:
    """Return the ids of the labels by each name that results may have for them: value and alias are one label."""
    ids = {name: label_id for label_id, name in label_names(labels).items()}
    for value, alias in config.aliases.items() if config else ():
        for name, other in ((value, alias), (alias, value)):
            if name not in ids and other in ids:
                ids[name] = ids[other]
    return ids


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of all files, ids checked to be unique."""

    files: list[Path]
    reader: _Reader

    def __iter__(self) -> Iterator[Sample]:
        policy = self.reader.policy
        policy.clear()
        seen: set[str] = set()
        for fallback_id, task in tasks_of(self.files, policy):
            with policy.record(SKIPPED):
                for sample in self.reader.samples(task, fallback_id):
                    if sample.id in seen:
                        raise FormatError(f"{task.where}: the task id {sample.id} stands twice")
                    seen.add(sample.id)
                    yield sample


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns tasks into samples.

    Attributes:
        labels: the classes.
        ids: of the labels by the names that results have for them.
        config: the label config, None where it is not known.
        controls_given: a control that the config does not have is an error.
        to_names: the names that the regions of the whole dataset have for their images; () where a config says it.
        finder: finds the images.
        use: what gives the masks.
        choice: which of several annotations.
        soft: keep soft edges.
        policy: what happens to a region or task that is wrong.
    """

    labels: LabelSet
    ids: Mapping[str, int]
    config: StudioConfig | None
    controls_given: bool
    to_names: tuple[str, ...]
    finder: ImageFinder
    use: Use
    choice: Choice
    soft: bool
    policy: ErrorPolicy

    def samples(self, task: Task, fallback_id: str) -> Iterator[Sample]:
        """Yield the samples of a task: one an image, times one an annotation for 'all'; none where it has nothing."""
        drawn = chosen(task, self.use, self.choice, self.policy)
        if not drawn:
            self.policy.leave_out(f"tasks without {self.use} to use", task.where)
            return
        ours = _ours(task.meta)
        task_id = ours.get("id")
        task_id = task_id if isinstance(task_id, str) else task.id or fallback_id
        each = self.choice == "all" and self.use == "annotations" and len(drawn) > 1
        for image in images_of(task, drawn, self.config, self.to_names):
            with self.policy.record(SKIPPED):
                for own in [[one] for one in image.drawn] if each else [image.drawn]:
                    name = f"{task_id}{image.suffix}" + (f"-annotation-{own[0].name}" if each else "")
                    sample = self._sample(task, image, own, name, ours)
                    if sample is not None:
                        yield sample

    def _sample(
        self, task: Task, image: TaskImage, drawn: list[Drawn], sample_id: str, ours: dict[str, Any]
    ) -> Sample | None:
        """Return the sample of an image, None where it has no region and its size cannot be known."""
        where = f"{task.where}, image {image.key}" if image.suffix else task.where
        kind = self.use.removesuffix("s")
        found: list[tuple[list[Shape], str]] = []
        others: list[dict[str, Any]] = []
        for one in drawn:
            place = f"{where}, {kind} {one.name}" if one.name else where
            own, rest = shapes(one.result, place, self.policy)
            found.append((own, place))
            others += rest
        ref, size = self._image(image, drawn, sample_id, ours, where)
        if size is None and any(own for own, _ in found):
            raise FormatError(
                f"{where}: the size of its image is unknown: no region states it, and "
                + self.finder.missing(f"the image {image.address or ref.name}")
            )
        if size is None:
            self.policy.leave_out(
                "images without a region that are out of reach, so that their size is unknown (--images-from DIR)",
                where,
            )
            return None
        drawings = [self._drawing(own, size, ours, place) for own, place in found]
        regions, masks = drawings[0] if len(drawings) == 1 else vote(drawings, self.labels, size)
        for label, count in stacking.hidden_pixels(regions, masks).items():
            name = next((known.name for known in self.labels.labels if known.id == label), str(label))
            self.policy.notes.add("pixels under a region of another label", f"{where}: {count} of {name}", count)
        facts = self._facts(task, image, drawn, others, kind)
        extra = attributes(ours.get("attributes"), where)
        return Sample(sample_id, ref, masks, tuple(regions), {**extra, **({NAMESPACE: facts} if facts else {})})

    def _facts(
        self, task: Task, image: TaskImage, drawn: list[Drawn], others: list[dict[str, Any]], kind: str
    ) -> dict[str, Any]:
        """Return what only Label Studio says of a task, but its masks."""
        facts: dict[str, Any] = {}
        own_keys = {*image.other_keys, *([image.key] if image.is_plain else [])}
        data = {k: v for k, v in task.data.items() if k not in own_keys}
        # An address from deep in the data is written again under a key that is free.
        key = image.key if image.is_plain else DEFAULT_KEY if DEFAULT_KEY not in data else f"{OURS}_{DEFAULT_KEY}"
        if key != DEFAULT_KEY:
            facts["image_key"] = key
        meta = {k: v for k, v in task.meta.items() if k != OURS}
        facts |= {k: v for k, v in (("task", facts_of(task.facts)), ("data", data), ("meta", meta)) if v}
        if others:
            facts["results"] = others
        described = [facts_of(one.facts) for one in drawn]
        if any(described):
            facts[kind if len(drawn) == 1 else f"{kind}s"] = described[0] if len(drawn) == 1 else described
        return facts

    def _image(
        self, image: TaskImage, drawn: list[Drawn], sample_id: str, ours: dict[str, Any], where: str
    ) -> tuple[ImageRef, tuple[int, int] | None]:
        """Return an image and its (height, width), None where nothing says it."""
        url = image.address
        known = ours.get("image")
        orientation = 1
        if isinstance(known, dict) and known.get("url") == url and isinstance(known.get("name"), str):
            name, uri = known["name"], known.get("uri")
            orientation = whole_number(known.get("exif_orientation", 1), f"{where}: exif_orientation")
        else:
            known = {}
            name, uri = read_address(url or "").name or f"{sample_id}.png", url
        source: Path | bytes | None
        if url and url.startswith("data:"):
            uri, source = None, image_of_data_url(url, where)
        else:
            # In what we wrote, the image's file may have a name that is not in its address.
            texts = [text for text in (known.get("file"), known.get("name"), url or name) if isinstance(text, str)]
            addresses = {address.paths: address for address in map(read_address, texts)}
            found = (self.finder.find(address, where) for address in addresses.values())
            source = next((path for path in found if path is not None), None)
        items = [item for one in drawn for item in one.result if isinstance(item, dict)]
        stated = _stated_size(items, where) or _size(ours.get("size"), where)
        if source is None:
            return ImageRef(name, None, uri, orientation), stated
        info = probe(source, where)
        if stated is not None and stated != (info.height, info.width):
            raise FormatError(
                f"{where}: the image {name} is {info.width} x {info.height} pixels (upright), its regions say "
                f"{stated[1]} x {stated[0]}; is it the same image, and were masks made after EXIF rotation?"
            )
        return ImageRef(name, source, uri, info.orientation), (info.height, info.width)

    def _drawing(
        self, found: list[Shape], size: tuple[int, int], ours: Mapping[str, Any], where: str
    ) -> tuple[list[Region], RunList]:
        """Return an annotation's regions in drawing order, without rectangles round what has a mask."""
        readable: list[tuple[Shape, str]] = []
        for number, shape in enumerate(found):
            with self.policy.record(REGIONS_SKIPPED):
                place = f"{where}, region {shape.item.get('id') or number}"
                self._check(shape, size, place)
                readable.append((shape, place))
        decoded = decode([shape for shape, _ in readable], *size)
        for row in decoded.lost:
            self.policy.leave_out("regions fainter than half throughout, read as empty", readable[row][1])
        for row in decoded.faint:
            self.policy.notes.add("regions drawn fainter than half throughout, read as drawn", readable[row][1])
        regions: list[Region] = []
        rows: list[int] = []
        for row, (shape, place) in enumerate(readable):
            with self.policy.record(REGIONS_SKIPPED):
                if row in decoded.faults:
                    raise FormatError(f"{place}: {decoded.faults[row]}") from decoded.faults[row]
                for region in self._records(shape, size, place):
                    regions.append(region)
                    rows.append(row)
        masks = decoded.masks if rows == list(range(len(decoded.masks))) else decoded.masks.select(rows)
        for row, area in zip(rows, masks.areas().tolist(), strict=True):
            if not area and row not in decoded.lost:
                self.policy.notes.add("regions without a pixel", readable[row][1])
        kinds = [readable[row][0].geometry for row in rows]
        outdone = set(stacking.outdone_rectangles(regions, masks, kinds))
        for k in sorted(outdone):
            place = readable[rows[k]][1]
            self.policy.leave_out("rectangles round what has a mask of the same label", place)
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
        if self.controls_given and self.config is not None and item.get("from_name") not in self.config.controls:
            raise FormatError(
                f"{where}: the label config has no control {item.get('from_name')!r}; there are: "
                f"{', '.join(self.config.controls)}"
            )
        if not shape.names:
            raise LabelError(f"{where}: the region has no label; give it one in the editor")
        for name in shape.names:
            if name not in self.ids:
                raise LabelError(f"{where}: no label is named {name!r}; there are: {', '.join(self.ids)}")

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
            edge=soft_edge(item["value"], *size) if self.soft else None,
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
