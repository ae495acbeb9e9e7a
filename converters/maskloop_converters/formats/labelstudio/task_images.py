"""Tasks resolved into their images: each with its address and what was drawn on it, by ``to_name``.

A task's data may hold several images (rgb and infrared, before and after, the pages of a document). Which of them a
region is on is said by its ``to_name``, which the label config leads to a key of the data. Each is a sample of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from ...errors import FormatError
from ..image_files import read_address
from ..images import IMAGE_SUFFIXES
from .config import ImageTag, StudioConfig
from .results import geometry_of
from .tasks import DEFAULT_IMAGE, DEFAULT_KEY, Drawn, Task


@dataclass(frozen=True, slots=True)
class TaskImage:
    """One image of a task.

    Attributes:
        key: where in the task's data its address stands; '' where the task has no data.
        is_plain: whether that is simply a key.
        address: None where the task has no data.
        suffix: of its sample's id: '' where the task has one image.
        drawn: annotations, predictions or drafts, each with its results on this image.
        other_keys: keys of the task's data that hold its other images.
    """

    key: str
    is_plain: bool
    address: str | None
    suffix: str
    drawn: list[Drawn]
    other_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Site:
    """An image of a task before the results come to it."""

    names: frozenset[str]
    page: int | None
    tag: ImageTag
    address: Any


def images_of(
    task: Task, drawn: Sequence[Drawn], config: StudioConfig | None, to_names: Iterable[str] = ()
) -> list[TaskImage]:
    """Return the images of a task that regions are drawn on, each with what was drawn on it.

    Args:
        task: the task.
        drawn: those of its annotations (predictions, drafts) that are to be read.
        config: the project's label config, None where it is not known.
        to_names: without one: the names that regions of the whole dataset have.

    Raises:
        FormatError: it cannot be told which image a region is on, or where that is.
    """
    named = _named(drawn, config)
    sites = _sites(task, named, config, dict.fromkeys([*to_names, *named]))
    if len(sites) == 1:
        return [_image(task, sites[0], "", list(drawn), frozenset())]
    shares: list[list[Drawn]] = [[] for _ in sites]
    for one in drawn:
        results: list[list[Any]] = [[] for _ in sites]
        for item in one.result:
            results[_site_of(item, sites, config, task.where)].append(item)
        for share, result in zip(shares, results, strict=True):
            share.append(replace(one, result=result))
    keys = {site.tag.key for site in sites}
    found = []
    for site, share in zip(sites, shares, strict=True):
        page = "" if site.page is None else f"-{site.page}"
        found.append(_image(task, site, f"-{site.tag.name}{page}", share, frozenset(keys - {site.tag.key})))
    return found


def named_on(results: Iterable[Any]) -> list[str]:
    """Return the names of the images that regions are on, in the order in which they are met."""
    names = [
        item["to_name"]
        for item in results
        if isinstance(item, dict) and isinstance(item.get("to_name"), str) and geometry_of(item)
    ]
    return list(dict.fromkeys(names))


def _named(drawn: Sequence[Drawn], config: StudioConfig | None) -> list[str]:
    items = [item for one in drawn for item in one.result if isinstance(item, dict) and geometry_of(item)]
    return list(dict.fromkeys(name for item in items if isinstance(name := _to_name(item, config), str)))


def _to_name(item: Mapping[str, Any], config: StudioConfig | None) -> Any:
    """Return the image that a result is on; JSON_MIN names the control alone."""
    name = item.get("to_name")
    if name is None and config is not None:
        name = config.controls.get(str(item.get("from_name")))
    return name


def _sites(task: Task, named: Sequence[str], config: StudioConfig | None, to_names: Mapping[str, None]) -> list[_Site]:
    if not task.data:
        tags = [ImageTag(name, "") for name in named] or [ImageTag(DEFAULT_IMAGE, "")]
        return [_Site(frozenset([tag.name]), None, tag, None) for tag in tags]
    if config is None:
        tags = _guessed(task, named, to_names)
    else:
        tags = [tag for tag in config.image_tags if tag.name in config.drawn_on or tag.name in named] or list(
            config.image_tags
        )
    # Tags that show the same image are one.
    by_place: dict[tuple[str, int | None], _Site] = {}
    for tag in tags:
        for page, address in tag.addresses(task.data):
            before = by_place.get((tag.value, page))
            names = frozenset([tag.name]) | (before.names if before else frozenset())
            by_place[tag.value, page] = _Site(names, page, before.tag if before else tag, address)
    if not by_place:
        raise FormatError(
            f"{task.where}: data[{tags[0].key!r}] is the address of the image, received {None!r}; its keys are "
            f"{', '.join(task.data)}"
        )
    return list(by_place.values())


def _guessed(task: Task, named: Sequence[str], to_names: Mapping[str, None]) -> list[ImageTag]:
    """Return the images of a task whose label config is not known."""
    data = task.data
    known = [name for name in to_names if isinstance(data.get(name), str)]
    if known and set(named) <= set(known):
        return [ImageTag(name, f"${name}") for name in known]
    candidates = [
        key
        for key, value in data.items()
        if isinstance(value, str) and (key == DEFAULT_KEY or _looks_like_image(value))
    ]
    name = named[0] if named else DEFAULT_IMAGE
    if len(named) <= 1:
        if len(candidates) == 1:
            return [ImageTag(name, f"${candidates[0]}")]
        if len(to_names) <= 1 and DEFAULT_KEY in candidates:
            return [ImageTag(name, f"${DEFAULT_KEY}")]
        if len(to_names) <= 1 and DEFAULT_KEY in data and not candidates:
            return [ImageTag(name, f"${DEFAULT_KEY}")]
    on = f", and its regions are on {', '.join(named)}" if named else ""
    raise FormatError(
        f"{task.where}: cannot tell which of the task's data is the image ({', '.join(data)}{on}); give the label config "
        "(--label-config FILE)"
    )


def _site_of(item: Any, sites: Sequence[_Site], config: StudioConfig | None, where: str) -> int:
    """Return which image a result is on; what is on none of them (texts, relations) goes with the first."""
    if not isinstance(item, dict):
        return 0
    name, page = _to_name(item, config), item.get("item_index")
    for number, site in enumerate(sites):
        if name in site.names and (site.page is None or site.page == (page or 0)):
            return number
    if geometry_of(item):
        there = ", ".join(sorted({name for site in sites for name in site.names}))
        on = f"{name!r}" if page is None else f"{name!r}, page {page}"
        raise FormatError(
            f"{where}, region {item.get('id')}: it is on the image {on}, which the task does not have; there are: {there}"
        )
    return 0


def _image(task: Task, site: _Site, suffix: str, drawn: list[Drawn], others: frozenset[str]) -> TaskImage:
    if task.data and not isinstance(site.address, str):
        raise FormatError(
            f"{task.where}: data[{site.tag.key!r}] is the address of the image, received {site.address!r:.80}"
        )
    return TaskImage(site.tag.key, site.tag.is_plain, site.address, suffix, drawn, others)


def _looks_like_image(value: str) -> bool:
    return value.startswith("data:image/") or PurePosixPath(read_address(value).name).suffix.lower() in IMAGE_SUFFIXES
