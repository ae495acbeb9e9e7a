"""Predictions as CVAT's shapes: masks in its run lengths, or polygons."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.codecs import cvat_rle
from maskloop_converters.errors import DataError

from ..inference.outlines import outlines
from ..inference.prediction import Segmenter
from ..inference.regions import extract

Per = Literal["class", "component"]
#: What stands for every label in the list of those that become polygons.
ALL = "all"


def create(
    home: str = "",
    version: str = "",
    labels: str = "",
    polygons: str = "",
    per: str = "class",
    min_area: int = 1,
    runtime: str = "auto",
) -> Function:
    """Return the function that cvat-cli calls; it gives each of these with ``-p NAME=str:VALUE`` (``int:`` for numbers).

    Args:
        home: the directory that holds models; by default MASKLOOP_HOME, else ~/.maskloop.
        version: a model version; by default the one that is served.
        labels: names in CVAT where they differ, 'person=pedestrian,car=vehicle'.
        polygons: names (in CVAT) of the labels that are of the type polygon there, 'car,bus', or 'all'.
        per: a shape a 'class', or one a connected 'component'.
        min_area: shapes of fewer pixels are left out.
        runtime: 'auto', 'keras' or 'openvino', as for ``maskloop serve``.

    Raises:
        DataError: a wrong value, or no such version.
    """
    from ..inference.predictor import Predictor
    from ..inference.runtimes.choosing import choose
    from ..registry.store import Registry

    if per not in ("class", "component"):
        raise DataError(f"per= is class or component, not {per!r:.80}")
    if runtime not in ("auto", "keras", "openvino"):
        raise DataError(f"runtime= is auto, keras or openvino, not {runtime!r:.80}")
    place = Path(home or os.environ.get("MASKLOOP_HOME") or Path.home() / ".maskloop")
    registry = Registry(place)
    served = version or registry.serving()
    if served is None:
        raise DataError(f"no version is served in {place}: maskloop models promote VERSION, or say version=")
    bundle = registry.load(served)
    return Function(
        Predictor(bundle, runtime=choose(bundle, runtime, "auto").runtime),  # type: ignore[arg-type]
        names=_names(labels),
        polygons=frozenset(filter(None, (name.strip() for name in polygons.split(",")))),
        per="component" if per == "component" else "class",
        min_area=min_area,
    )


def _names(text: str) -> dict[str, str]:
    """Return the names of 'a=b,c=d'."""
    names = {}
    for pair in filter(None, text.split(",")):
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not equals or not old or not new:
            raise DataError(f"labels= is a list such as person=pedestrian,car=vehicle, not {pair!r:.80}")
        names[old] = new
    return names


class Function:
    """An auto-annotation function, as ``cvat_sdk.auto_annotation.DetectionFunction`` describes it.

    Args:
        segmenter: the model version.
        names: label in CVAT by the model's, where they differ.
        polygons: labels (in CVAT) that become polygons; 'all' is every one.
        per: a shape a class or one a connected component; polygons are always one a component.
        min_area: in pixels.

    Raises:
        DataError: a label that the model does not have.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        names: Mapping[str, str] | None = None,
        polygons: frozenset[str] = frozenset(),
        per: Per = "class",
        min_area: int = 1,
    ) -> None:
        import cvat_sdk.auto_annotation as cvataa

        self._segmenter = segmenter
        self._per: Per = per
        self._min_area = min_area
        labels = segmenter.labels
        known = {label.name for label in labels.classes}
        called = {label.name: (names or {}).get(label.name, label.name) for label in labels.classes}
        _check(set(names or {}), known, "labels=")
        _check(set(polygons) - {ALL}, set(called.values()), "polygons=")
        #: of each channel, the label's number for CVAT: classes of one name there are one label, the background is none
        self._label_of: dict[int, int] = {}
        self._polygons: set[int] = set()
        specs: dict[str, Any] = {}
        for channel, label in enumerate(labels.classes):
            if label.id == labels.background_id:
                continue
            name = called[label.name]
            as_polygon = bool({ALL, name} & polygons)
            if name not in specs:
                specs[name] = cvataa.label_spec(name, len(specs), type="polygon" if as_polygon else "mask")
            self._label_of[channel] = int(specs[name].id)
            if as_polygon:
                self._polygons.add(channel)
        self.spec = cvataa.DetectionFunctionSpec(labels=list(specs.values()))

    def detect(self, context: Any, image: Any) -> list[Any]:
        """Return the shapes on an image.

        Args:
            context: ``DetectionFunctionContext``: the least confidence of a shape (its pixels' mean), and whether all
                masks must be polygons (``--conv-mask-to-poly``).
            image: ``PIL.Image``.
        """
        import cvat_sdk.auto_annotation as cvataa

        pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        (prediction,) = self._segmenter.predict([pixels])
        regions = extract(prediction, per=self._per, min_area=self._min_area)
        least = context.conf_threshold or 0.0
        kept = [
            k
            for k, channel in enumerate(regions.class_index.tolist())
            if channel in self._label_of and regions.scores[k] >= least
        ]
        encoded = cvat_rle.encode(regions.masks.select(kept))
        shapes = []
        for k, (counts, (x, y, width, height)) in zip(kept, encoded, strict=True):
            channel = int(regions.class_index[k])
            label = self._label_of[channel]
            if channel in self._polygons or context.conv_mask_to_poly:
                shapes += [cvataa.polygon(label, points) for points in self._outlines(regions.masks.mask(k))]
            else:
                shapes.append(cvataa.mask(label, [*counts.tolist(), x, y, x + width - 1, y + height - 1]))
        return shapes

    def _outlines(self, mask: NDArray[np.bool_]) -> list[list[float]]:
        """Return the polygons of a mask as CVAT's points: x, y, x, y, ..."""
        return [ring.round(2).ravel().tolist() for ring in outlines(mask)]


def _check(given: set[str], known: Sequence[str] | set[str], what: str) -> None:
    unknown = sorted(given - set(known))
    if unknown:
        raise DataError(
            f"{what} names {unknown[0]!r}, which the model does not have; it has: {', '.join(sorted(known))}"
        )
