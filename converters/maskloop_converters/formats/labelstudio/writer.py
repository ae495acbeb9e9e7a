"""Writing Label Studio's JSON."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...atomic import atomic_directory, atomic_file
from ...codecs import png, studio_rle
from ...errors import TargetError
from ...options import Option
from ...report import WriteReport
from ...samples import Dataset, LabelSet, Region, Sample
from ..file_names import FreeNames, relative_path
from ..gate import gated
from ..images import ImageMode, Images, store_image
from ..labels import label_names, labels_to_json
from ..records import dumps
from . import stacking
from .config import render
from .files import CONFIG, LABELS, TASKS, lists_beside
from .tasks import DEFAULT_CONTROL, DEFAULT_IMAGE, DEFAULT_KEY, NAMESPACE, OURS, image_name

Kind = Literal["annotations", "predictions", "predictions-only"]
Encoding = Literal["auto", "brush", "bitmask"]

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_HANDLED = frozenset({"from_name", "to_name", "type", "labels", "meta", "value", "results"})


@contextmanager
def opening(
    dataset: Dataset,
    path: Path,
    *,
    kind: Annotated[
        Kind, Option("Tasks with finished annotations, with predictions, or predictions alone.")
    ] = "annotations",
    encoding: Annotated[Encoding, Option("BrushLabels, BitmaskLabels, or as the region was.")] = "auto",
    images: Images = None,
    image_url: Annotated[
        str | None, Option("Address of the images in the tasks; {name} stands for an image's name.", metavar="URL")
    ] = None,
    model_version: Annotated[str | None, Option("Of the predictions.", metavar="NAME")] = None,
    from_name: Annotated[str, Option("Name of the control in the label config.", metavar="NAME")] = DEFAULT_CONTROL,
    to_name: Annotated[str, Option("Name of the image object there.", metavar="NAME")] = DEFAULT_IMAGE,
    overwrite: bool = False,
) -> Iterator[_Writer]:
    """Write a dataset as tasks that Label Studio imports.

    A ``path`` that ends in .json becomes that file, with label config and label list beside it
    (NAME.label_config.xml, NAME.labels.json) and images referenced. Any other becomes a folder: ``tasks.json``,
    ``label_config.xml``, ``labels.json`` and ``images/``.

    Args:
        dataset: what to write.
        path: the file or folder to make.
        kind: 'annotations' are tasks with finished annotations as the editor submits them, 'predictions' tasks with
            pre-annotations; 'predictions-only' lists predictions for tasks that exist, for ``/api/import/predictions``:
            sample ids must be task numbers.
        encoding: 'brush' (BrushLabels), 'bitmask' (BitmaskLabels), 'auto': as the region was, brush by default.
        images: how images come along, see :func:`maskloop_converters.formats.images.store_image`; 'copy' into a folder by
            default.
        image_url: address of the images in the tasks, '{name}' stands for the name; by default the address that the
            image had, else '/data/local-files/?d=images/{name}', for a Label Studio whose local files root is the folder.
        model_version: of the predictions.
        from_name: name of the control.
        to_name: name of the image object.
        overwrite: replace what is there.

    Yields:
        The writer of samples; its report says what was written, and what Label Studio cannot hold.

    Raises:
        OutputExistsError: something is there already.
        TargetError: 'predictions-only' for a sample whose id is no task number; images to copy beside one file.
    """
    if path.suffix == ".json" and images not in (None, "reference"):
        raise TargetError("images are copied or linked into a folder; give a path that does not end in .json")
    with ExitStack() as stack:
        if path.suffix == ".json":
            names = {TASKS: path, **lists_beside(path)}
            files = {k: stack.enter_context(atomic_file(p, overwrite=overwrite)) for k, p in names.items()}
            folder = None
        else:
            folder = stack.enter_context(atomic_directory(path, overwrite=overwrite))
            files = {name: folder / name for name in (TASKS, CONFIG, LABELS)}
        mode = images or ("copy" if folder else "reference")
        with files[TASKS].open("wb") as out:
            writer = _Writer(
                dataset.labels, out, kind, encoding, mode, image_url, model_version, from_name, to_name, folder
            )
            yield writer
            out.write(b"\n]\n" if writer.report.samples else b"[]\n")
        files[CONFIG].write_text(writer.config(), "utf-8")
        record = labels_to_json(dataset.labels)
        if dataset.split is not None:
            record["split"] = dataset.split
        if dataset.attributes:
            record["attributes"] = dict(dataset.attributes)
        files[LABELS].write_text(dumps(record, "labels") + "\n", "utf-8")


@dataclass(slots=True)
class _Writer:
    """Turns samples into the bytes of tasks."""

    labels: LabelSet
    out: BinaryIO
    kind: Kind
    encoding: Encoding
    images: ImageMode
    image_url: str | None
    model_version: str | None
    from_name: str
    to_name: str
    folder: Path | None
    report: WriteReport = field(default_factory=WriteReport)
    _controls: dict[tuple[str, str, str], None] = field(default_factory=dict)
    _images: dict[str, str] = field(default_factory=dict)
    _files: FreeNames = field(default_factory=FreeNames)
    _names: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = label_names(self.labels)

    def config(self) -> str:
        """Return the label config of what was written."""
        tag = "BitmaskLabels" if self.encoding == "bitmask" else "BrushLabels"
        controls = list(self._controls) or [(tag, self.from_name, self.to_name)]
        return render(self.labels, controls, self._images or {self.to_name: DEFAULT_KEY})

    def write(self, sample: Sample) -> None:
        """Write a sample as a task, or as a prediction alone."""
        task = self._task(sample)
        self.out.write((b",\n" if self.report.samples else b"[\n") + task)
        self.report.samples += 1
        self.report.regions += len(sample.regions)

    def _task(self, sample: Sample) -> bytes:
        where = f"sample {sample.id}"
        facts = _facts(sample.attributes)
        order = stacking.listing_order(sample.masks)
        listed = replace(sample, regions=tuple(sample.regions[k] for k in order), masks=sample.masks.select(order))
        result = self._result(listed, facts, where)
        kind = "annotation" if self.kind == "annotations" else "prediction"
        drawn = _object(facts.get(kind))
        other = "prediction" if kind == "annotation" else "annotation"
        self.report.losses.add(f"{other} records (number, time, version)", where, int(other in facts))
        head = drawn
        if self.kind != "annotations":
            version = self.model_version or drawn.get("model_version")
            head = {**drawn, "model_version": version} if version or self.kind == "predictions-only" else drawn
        if self.kind == "predictions-only":
            if not sample.id.isdecimal():
                raise TargetError(
                    f"{where}: predictions alone belong to tasks that exist, so its id must be a task's number; write "
                    "--kind predictions to make tasks"
                )
            self.report.losses.add("image names (predictions alone name tasks only)", where)
            return _with(dumps({"task": int(sample.id), **head}, where), "result", result)
        record = self._task_record(listed, facts, where)
        return _with(dumps(record, where), f"{kind}s", b"[" + _with(dumps(head, where), "result", result) + b"]")

    def _task_record(self, sample: Sample, facts: Mapping[str, Any], where: str) -> dict[str, Any]:
        key = str(facts.get("image_key", DEFAULT_KEY))
        image = sample.image
        stored = self._files.take(relative_path(image.name, where)).as_posix()
        if self.folder is not None:
            store_image(image, self.folder / "images" / stored, self.images, self.report, where)
        url = image.uri
        if self.image_url is not None:
            url = self.image_url.replace("{name}", quote(stored))
        elif url is None:
            url = f"/data/local-files/?d={quote(f'images/{stored}')}"
        ours: dict[str, Any] = {"size": [sample.height, sample.width]}
        record: dict[str, Any] = {}
        if sample.id.isdecimal() and str(int(sample.id)) == sample.id:
            record["id"] = int(sample.id)
        else:
            ours["id"] = sample.id
        stored_as = stored if self.folder is not None and stored != image.name else None
        if (image_name(url), url, 1, None) != (image.name, image.uri, image.exif_orientation, stored_as):
            known = {"url": url, "name": image.name, "uri": image.uri, "file": stored_as}
            ours["image"] = {k: v for k, v in known.items() if v is not None}
            if image.exif_orientation != 1:
                ours["image"]["exif_orientation"] = image.exif_orientation
        if rest := {k: v for k, v in sample.attributes.items() if k != NAMESPACE}:
            ours["attributes"] = rest
        kinds = [self._kind(region) for region in sample.regions]
        if stacking.drawing_order(sample.regions, sample.masks, kinds) != stacking.listing_order(sample.masks):
            ours[stacking.AS_LISTED] = stacking.fingerprint(sample.regions, sample.masks)
        record["data"] = {key: url, **_object(facts.get("data"))}
        record["meta"] = {**_object(facts.get("meta")), OURS: ours}
        return {**record, **{k: v for k, v in _object(facts.get("task")).items() if k not in record}}

    def _result(self, sample: Sample, facts: Mapping[str, Any], where: str) -> bytes:
        """Return the JSON list of an annotation's results."""
        values = self._values(sample)
        used: set[str] = set()
        items: list[bytes] = []
        size = {"original_width": sample.width, "original_height": sample.height, "image_rotation": 0}
        for k, region in enumerate(sample.regions):
            own = _facts(region.attributes)
            names, merged = _names(own, sample.regions, k, self._names)
            if merged:
                continue
            kind, geometry = next(values[k])
            value = {**_object(own.get("value")), kind: names}
            region_id = region.id
            if not region_id or region_id in used:
                region_id = _made_id(sample.id, k, used)
            used.add(region_id)
            control, image = str(own.get("from_name", self.from_name)), str(own.get("to_name", self.to_name))
            tag = "BitmaskLabels" if kind == "bitmasklabels" else "BrushLabels"
            self._controls[tag, control, image] = None
            self._images.setdefault(image, str(facts.get("image_key", DEFAULT_KEY)))
            record: dict[str, Any] = {"id": region_id, "from_name": control, "to_name": image, "type": kind}
            if region.origin is not None:
                record["origin"] = region.origin
            if region.score is not None:
                record["score"] = region.score
            record |= {key: v for key, v in own.items() if key not in _HANDLED}
            if meta := self._meta(region, own, kind, region_id):
                record["meta"] = meta
            place_ = f"{where}, region {region.id}"
            value_json = b"{" + geometry + b"," + dumps(value, place_).encode()[1:]
            items.append(
                dumps(size, place_).encode()[:-1]
                + b',"value":'
                + value_json
                + b","
                + dumps(record, place_).encode()[1:]
            )
            items.extend(dumps(extra, place_).encode() for extra in _objects(own.get("results")))
        items.extend(dumps(extra, where).encode() for extra in _objects(facts.get("results")))
        return b"[" + b",".join(items) + b"]"

    def _meta(self, region: Region, own: Mapping[str, Any], kind: str, written_id: str) -> dict[str, Any]:
        ours: dict[str, Any] = {}
        if written_id != region.id:
            ours["id"] = region.id
        if own.get("type", "brushlabels") != kind:
            ours["type"] = own.get("type", "brushlabels")
            if ours["type"] in ("polygonlabels", "rectanglelabels", "polygon", "rectangle"):
                self.report.notes.add("outlines written as masks", f"region {region.id}")
        if region.crowd:
            ours["crowd"] = True
        if region.instance is not None:
            ours["instance"] = region.instance
        if rest := {k: v for k, v in region.attributes.items() if k != NAMESPACE}:
            ours["attributes"] = rest
        return {**_object(own.get("meta")), **({OURS: ours} if ours else {})}

    def _values(self, sample: Sample) -> list[Iterator[tuple[str, bytes]]]:
        """Return for every region its type and the JSON of its geometry, made when it is asked for."""
        kinds = [self._kind(region) for region in sample.regions]
        hard = [k for k, r in enumerate(sample.regions) if r.edge is None]
        brushes = [k for k in hard if kinds[k] == "brushlabels"]
        streams = dict(zip(brushes, studio_rle.encode(sample.masks.select(brushes)), strict=True))
        bitmasks = [k for k in hard if kinds[k] == "bitmasklabels"]
        files = dict(zip(bitmasks, png.write_alpha(sample.masks.select(bitmasks)), strict=True))

        def value(k: int) -> Iterator[tuple[str, bytes]]:
            region = sample.regions[k]
            alpha = None
            if region.edge is not None:
                alpha = np.where(sample.masks.mask(k), np.uint8(255), np.uint8(0))
                alpha.ravel()[region.edge.positions] = region.edge.alpha
            if kinds[k] == "brushlabels":
                stream = streams[k] if alpha is None else studio_rle.encode_alpha(alpha)
                yield kinds[k], b'"format":"rle","rle":' + studio_rle.to_json(stream)
            else:
                data = files[k] if alpha is None else _opacity_png(alpha)
                yield kinds[k], b'"imageDataURL":"data:image/png;base64,' + base64.b64encode(data) + b'"'

        return [value(k) for k in range(len(sample.regions))]

    def _kind(self, region: Region) -> str:
        if self.encoding == "auto":
            is_bitmask = _facts(region.attributes).get("type") in ("bitmasklabels", "bitmask")
            return "bitmasklabels" if is_bitmask else "brushlabels"
        return f"{self.encoding}labels"


def _opacity_png(alpha: NDArray[np.uint8]) -> bytes:
    """Return a grey PNG, black, with opacity: what a soft bitmask is."""
    out = io.BytesIO()
    Image.fromarray(np.stack([np.zeros_like(alpha), alpha], axis=-1), "LA").save(out, "PNG")
    return out.getvalue()


def _names(
    own: Mapping[str, Any], regions: tuple[Region, ...], k: int, names: Mapping[int, str]
) -> tuple[list[str], bool]:
    """Return the labels of a region, and whether it was written already with the first one of its labels."""
    region = regions[k]
    name = names[region.label]
    several = own.get("labels")
    if not isinstance(several, list) or name not in several:
        return [name], False
    at = several.index(name)
    first = k - at
    if first < 0 or [names.get(r.label) for r in regions[first : first + len(several)]] != several:
        return [name], False  # its labels were renamed or some of them dropped: it stands for itself
    return several, at > 0


def _facts(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(attributes.get(NAMESPACE))


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _made_id(sample_id: str, k: int, used: set[str]) -> str:
    """Return an id of the ten characters that the editor makes, the same for the same region every time."""
    salt = 0
    while True:
        digest = hashlib.blake2b(f"{sample_id}/{k}/{salt}".encode(), digest_size=10).digest()
        made = "".join(_ID_LETTERS[byte & 63] for byte in digest)
        if made not in used:
            return made
        salt += 1


def _with(record: str, key: str, raw: bytes) -> bytes:
    """Return a JSON object with one more field, whose value is JSON already."""
    text = record.encode()
    return text[:-1] + (b"," if len(text) > 2 else b"") + f'"{key}":'.encode() + raw + b"}"


write = gated(opening)
