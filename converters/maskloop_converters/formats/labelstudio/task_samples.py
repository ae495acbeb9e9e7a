"""One task of Label Studio -> its samples: an image each, with the regions that count, in drawing order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import FormatError, LabelError
from ...masks import RunList
from ...report import ErrorPolicy
from ...samples import ImageRef, LabelSet, Region, Sample
from ..image_files import ImageFinder, dataset_name, read_address
from ..images import probe
from ..parts import SKIPPED
from ..records import attributes, score, whole_number
from . import stacking
from .choosing import DISPUTED, DISPUTED_BACKGROUND, Choice, Use, chosen, vote
from .config import StudioConfig
from .decoding import decode, image_of_data_url, soft_edge
from .results import REGIONS_SKIPPED, Shape, bare_value, shapes
from .task_images import TaskImage, images_of
from .tasks import DEFAULT_CONTROL, DEFAULT_IMAGE, DEFAULT_KEY, NAMESPACE, OURS, Drawn, Task, facts_of

_ORIGINS = ("manual", "prediction", "prediction-changed")
_ITEM_KEYS = frozenset(
    {"id", "value", "score", "origin", "original_width", "original_height", "image_rotation", "meta", "type"}
    | {"from_name", "to_name", "item_index"}
)


@dataclass(frozen=True, slots=True)
class TaskReader:
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
        if len(drawings) == 1:
            regions, masks = drawings[0]
        else:
            regions, masks, disputed = vote(drawings, self.labels, size)
            if disputed:
                claimed = self.labels.background_id is not None and self.labels.ignore_id is None
                kind = DISPUTED_BACKGROUND if claimed else DISPUTED
                self.policy.notes.add(kind, f"{where}: {disputed} of {size[0] * size[1]}", disputed)
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
            name, uri = dataset_name(known["name"]) or f"{sample_id}.png", known.get("uri")
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
