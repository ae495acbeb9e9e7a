"""A Label Studio project as a source: the images of its tasks, for a dataset of any format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from maskloop_converters.formats.labelstudio.tasks import image_name

from ..studio import label_config
from ..studio.addresses import AddressPolicy
from ..studio.client import StudioClient
from ..studio.images import ImageFetcher
from .errors import BatchError
from .items import Item
from .project import Access, Only
from .sources import Listed, Taken

# Of a file's name that comes behind the task's number.
_LONGEST = 60


@dataclass(slots=True)
class TaskImages:
    """Reads the images, in a worker; thread-safe.

    Attributes:
        access: to them.
        tasks: key of the image, and the task with nothing but its address, by the name of an item.
    """

    access: Access
    tasks: Mapping[str, tuple[str, Mapping[str, Any]]]
    _fetcher: ImageFetcher | None = None

    def __call__(self, item: Item) -> bytes:
        """Return the encoded image of an item.

        Raises:
            ImageError: it cannot be had.
            FileNotFoundError: the project has the task no more.
        """
        if item.name not in self.tasks:
            raise FileNotFoundError(f"task {item.number} is not among those that are asked for any more")
        if self._fetcher is None:
            access = self.access
            policy = AddressPolicy.parse(access.allow_hosts, access.deny_private, access.url)
            self._fetcher = ImageFetcher(access.url, access.token, policy=policy)
        key, task = self.tasks[item.name]
        return self._fetcher.read(dict(task), key)


def taken(client: StudioClient, project: str, access: Access, only: Only = "all", view: int | None = None) -> Taken:
    """Return the images of a project's tasks, by the tasks' numbers; none is opened.

    A sample has its task's number as its id, and the name of its Image tag behind it where the label config has several,
    as ``convert`` has it for an export of the project.

    Args:
        client: of Label Studio.
        project: id or title.
        access: to the images.
        only: all tasks, or those that nobody annotated.
        view: number of a data manager's view whose tasks are taken; None takes all.

    Raises:
        BatchError: there is no such task.
        StudioError: Label Studio does not answer, or there is no such project.
    """
    found = client.project(project)
    tags = label_config.parse(str(found["label_config"])).images
    tasks = [
        {"id": state.id, "data": data}
        for state, data in client.described_tasks(int(found["id"]), view)
        if only == "all" or not (state.annotations or state.labelled)
    ]
    if not tasks:
        which = "task" if only == "all" else "task that nobody annotated"
        raise BatchError(f"project {found['id']} has no {which}" + (f" in view {view}" if view else ""))
    items, places = [], {}
    for item, key, alone in _images(sorted(tasks, key=lambda task: task["id"]), tags):
        items.append(item)
        places[item.name] = (key, alone)
    return Taken(Listed(tuple(items)), TaskImages(access, places))


def _images(tasks: Iterable[dict[str, Any]], tags: Any) -> Iterator[tuple[Item, str, dict[str, Any]]]:
    for task in tasks:
        number = int(task["id"])
        # a task without any image is one that is missing, and said
        for tag in [tag for tag in tags if tag.address(task["data"]) is not None] or tags[:1]:
            sample = f"{number}-{tag.name}" if len(tags) > 1 else str(number)
            file = PurePosixPath(image_name(tag.address(task["data"]) or ""))
            name = f"{sample}-{file.stem[:_LONGEST]}{file.suffix[:8]}" if file.name else sample
            yield Item(name, "", sample, number), tag.key, tag.alone(task)
