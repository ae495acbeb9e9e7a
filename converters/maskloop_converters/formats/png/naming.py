"""What the numbers in the masks of a dataset are called: by a list, else by the dataset that it is, else class 0..n."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ... import _runs
from ...codecs import png
from ...errors import FormatError
from ...report import Tally
from ...samples import Color, Label, LabelSet
from ..label_files import LabelList, find_label_file, read_label_list, unknown_lists, with_roles
from ..labels import color_table
from .entries import Layout
from .label_maps import Meaning, Values, equal_channels
from .layers import names_in as layer_names
from .mask_files import MaskSource, read_pixels

# How many masks are looked at where a list says the names, and whether a dataset is the one that its layout is of. What
# the others hold besides is an error when they are read.
_LOOKED_AT = 16
_MOST_COLORS = 512
_IGNORED = 255
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(slots=True)
class Seen:
    """What masks hold.

    Attributes:
        numbers: of grey masks and palettes; black and white palettes count as 0 and 255.
        rgb_numbers: of masks whose three channels are equal.
        colors: of the other masks.
        masks: how many could be read.
        unread: why the first of the others could not, '' where nothing is known of it.
    """

    numbers: set[int] = field(default_factory=set)
    rgb_numbers: set[int] = field(default_factory=set)
    colors: set[Color] = field(default_factory=set)
    masks: int = 0
    unread: str = ""

    @classmethod
    def of(cls, paths: Iterable[MaskSource]) -> Seen:
        """Look at masks; of those that cannot be read, all are found when their samples are read."""
        seen = cls()
        for path in paths:
            try:
                seen.add(read_pixels(path, ""))
            except FormatError as error:
                seen.unread = seen.unread or str(error)
        return seen

    def add(self, image: png.PngImage) -> None:
        """Look at one."""
        self.masks += 1
        numbers = equal_channels(image)
        if numbers is None:
            if len(self.colors) < _MOST_COLORS:
                found = np.unique(png.color_ids(image.rgb())).tolist()
                self.colors |= {(key & 255, key >> 8 & 255, key >> 16) for key in found[:_MOST_COLORS]}
            return
        present = _runs.present(numbers)
        if image.kind in ("rgb", "rgba"):
            self.rgb_numbers |= set(present)
            return
        if image.palette is not None and max(present) < len(image.palette):
            shown = [tuple(image.palette[value].tolist()) for value in present]
            if set(shown) <= {_BLACK, _WHITE} and shown == sorted(shown):
                present = [color[0] for color in shown]
        self.numbers |= set(present)


def meaning(
    root: Path, layout: Layout, given: LabelSet | Path | None, above: tuple[Path, ...], values: Values, notes: Tally
) -> Meaning:
    """Return what the numbers of a dataset's masks mean.

    Args:
        root: the folder of the layout.
        layout: its masks.
        given: the labels that a user gave.
        above: folders that hold the dataset, whose lists count too.
        values: how palettes are read.
        notes: gets what is taken for granted.

    Raises:
        FormatError: a damaged list; masks that it does not explain; colours and no list.
    """
    masks = [entry.mask for entry in layout.entries if entry.mask is not None]
    listed = _list_of(root, given, above)
    if layout.packed is not None:
        return Meaning(layout.packed.named(root, listed, masks, notes))
    if layout.layered:
        return Meaning(_of_layers(layout, listed))
    if listed is not None and layout.relisted is not None:
        listed = layout.relisted(listed)
    if listed is not None:
        ids = listed.labels.known_ids
        if layout.ignored is not None and listed.labels.ignore_id is None and layout.ignored not in ids:
            listed = replace(listed, labels=replace(listed.labels, ignore_id=layout.ignored))
        # With more than two names, numbers leave no doubt: only what three channels hold must be seen.
        doubtful = len(listed.labels.labels) < 3
        spread = _spread(masks, _LOOKED_AT)
        seen = Seen.of([path for path in spread if doubtful or _may_hold_colors(path)])
        return by_list(listed, seen, values, notes)
    seen = Seen.of(_spread(masks, _LOOKED_AT))
    unknown = [path for folder in (root, *above) for path in unknown_lists(folder)]
    for name, labels in () if unknown else layout.known:
        if _fits(name, labels, seen):
            notes.add(
                f"dataset without a label list, named by that of {name}; give --labels if it is another", str(root)
            )
            in_rgb = bool(seen.rgb_numbers and not seen.colors and not seen.numbers)
            return Meaning(labels, built_in=f"the labels of {name}", numbers_in_rgb=in_rgb, values=values)
    seen = Seen.of(masks)
    seen.unread = seen.unread or next((entry.reason for entry in layout.entries if entry.reason), "")
    return nameless(root, seen, unknown, values, notes)


def _of_layers(layout: Layout, listed: LabelList | None) -> LabelSet:
    """Return the labels of regions with a file each: the list's, else those that the files' names say."""
    if listed is not None:
        return listed.labels
    return with_roles([Label(k, name) for k, name in enumerate(layer_names(layout, listed))])


def _spread(paths: list[Path], most: int) -> list[Path]:
    return paths if len(paths) <= most else [paths[k * len(paths) // most] for k in range(most)]


def _may_hold_colors(path: Path) -> bool:
    """Return whether a mask file may have three channels, as its head says."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return False
    return head[:4] != b"\x89PNG" or head[25:26] not in (b"\0", b"\3")  # PNG's colour types: grey, palette


def _list_of(root: Path, given: LabelSet | Path | None, above: tuple[Path, ...]) -> LabelList | None:
    if isinstance(given, LabelSet):
        return LabelList(given)
    file = given or find_label_file(root, *above)
    return read_label_list(file) if file else None


def by_list(listed: LabelList, seen: Seen, values: Values, notes: Tally) -> Meaning:
    """Return what masks mean by a list of labels: which names 0, 255 and three equal channels have."""
    labels = listed.labels
    where = str(listed.path) if listed.path else "the labels"
    explicit = {label.color for label in labels.labels if label.color is not None}
    greys = {(value, value, value) for value in seen.rgb_numbers}
    # Colours, if there are any elsewhere, or if the list has these colours.
    in_rgb = bool(greys) and not seen.colors and not (explicit and greys <= explicit)
    numbers = seen.numbers | (seen.rgb_numbers if in_rgb else set())
    is_binary = numbers <= {0, _IGNORED} and _IGNORED in numbers
    roles = (labels.background_id, labels.ignore_id)
    if len(labels.labels) == 1 and not listed.numbered and roles == (None, None):
        only = labels.labels[0]
        ignore_id = None if is_binary else _IGNORED
        labels = LabelSet((Label(1, only.name, only.color, only.thing),), ignore_id, background_id=0)
        notes.add("lists of one name, which is what the masks show; 0 is none of it", where)
    ids = {label.id for label in labels.labels}
    binary = None
    if is_binary and ids <= {0, 1} and labels.ignore_id != _IGNORED:
        name = next((label.name for label in labels.labels if label.id == 1), None)
        if labels.fill_id == _IGNORED and listed.numbered and 0 in ids:
            zero = labels.by_id(0).name
            raise FormatError(
                f"{where}: the masks hold 0 and 255 alone, and can be read in two ways: 0 is {zero} and 255 what nobody "
                f"judged, or 255 is {name or zero}; name 0 'background' and 1 {name or zero!r} in the list, or give 255 as "
                "ignore_id in a labels.json"
            )
        if name is not None:
            binary = 1
            notes.add("datasets whose masks hold 0 and 255 alone: 255 is read as label 1", f"{where}: {name}")
            if labels.background_id is None and labels.ignore_id is None and 0 not in ids:
                labels = LabelSet(labels.labels, background_id=0)
    return Meaning(labels, binary, "", in_rgb, values)


def _fits(name: str, labels: LabelSet, seen: Seen) -> bool:
    """Return whether masks look like those of a well-known dataset: its numbers alone, and what nearly every one has."""
    if not seen.masks:
        return True
    if seen.colors:
        greys = {(value, value, value) for value in seen.rgb_numbers}
        return seen.colors | greys <= set(color_table(labels).values())
    numbers = seen.numbers | seen.rgb_numbers
    ids = {label.id for label in labels.labels}
    if not numbers <= ids | {labels.fill_id, _IGNORED}:
        return False
    if name == "PASCAL VOC":
        return _IGNORED in numbers or len(numbers) > len(ids) // 2  # its objects have borders of 255
    if name == "CamVid":
        return max(ids) in numbers or max(ids) - 1 in numbers  # void is on nearly every image, bicyclists on many
    return bool(numbers - set(range(7))) or labels.ignore_id == _IGNORED  # Cityscapes' 0..6 are none of its classes


def nameless(root: Path, seen: Seen, unknown: list[Path], values: Values, notes: Tally) -> Meaning:
    """Return what masks mean where nothing says it: class 0, class 1, ..."""
    if seen.colors:
        shown = ", ".join(str(color) for color in sorted(seen.colors)[:8])
        raise FormatError(
            f"{root} has no list of labels, and its masks hold {len(seen.colors)} colours ({shown}...); add a labels.csv "
            "with the head name,r,g,b, or give --labels (labels=)"
        )
    numbers = seen.numbers | seen.rgb_numbers
    if not numbers and seen.unread:
        raise FormatError(f"{root} has no mask that could be read: {seen.unread}")
    if not numbers:
        raise FormatError(f"{root} has no list of labels and no mask that could be read; give --labels (labels=)")
    ignore_id, binary = None, None
    if numbers <= {0, _IGNORED} and _IGNORED in numbers:
        ids, binary = [0, 1], 1
    else:
        if _IGNORED in numbers and _IGNORED - 1 not in numbers:
            ignore_id = _IGNORED
        ids = sorted(numbers - {ignore_id})
        if ids and len(ids) * 4 > ids[-1]:
            ids = list(range(ids[-1] + 1))
    labels = LabelSet(tuple(Label(k, f"class {k}") for k in ids), ignore_id)
    said = f"{root}: {len(ids)} classes" + (f", {_IGNORED} ignored" if ignore_id else "")
    said += ", 255 is class 1" if binary else ""
    said += "".join(f"; is {path.name} a list? give it with --labels" for path in unknown[:1])
    notes.add("datasets without a label list, called class 0..n; name them in a labels.txt in it, a name a line", said)
    return Meaning(labels, binary, "", not seen.numbers, values)
