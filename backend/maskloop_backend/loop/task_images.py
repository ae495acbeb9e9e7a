"""The images of annotated tasks: beside an export, or fetched once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import FormatError
from maskloop_converters.formats.image_files import ImageFinder, read_address
from maskloop_converters.formats.labelstudio.tasks import stored_name
from maskloop_converters.report import OnError

from ..studio.client import StudioClient
from ..studio.errors import ImageError
from ..studio.images import ImageFetcher, decode
from .collected import CorrectionsError

# So many images that are gone are named before the collecting stops.
_NAMED = 5


@dataclass(slots=True)
class TaskImages:
    """Finds the images of tasks: beside an export, or fetched once and kept.

    Attributes:
        cache: folder of the files, one a task and address.
        finder: finds those that are in a folder on this disk.
        fetcher: fetches the others; None fetches none.
        on_error: what happens to images that are gone.
        client: tells whether Label Studio is there at all, None where the tasks come from a file.
    """

    cache: Path
    finder: ImageFinder
    fetcher: ImageFetcher | None
    on_error: OnError
    client: StudioClient | None
    gone: list[str] = field(default_factory=list)

    def find(self, task_id: str, address: str | None, key: str) -> str:
        """Return the name of an image in the cache; thread-safe.

        Args:
            task_id: of its task.
            address: what stands in the task's data, None where nothing does.
            key: where in the data it stands, or should.

        Raises:
            ImageError: it cannot be had or read.
        """
        where = f"task {task_id}"
        if not address:
            raise ImageError(f"{where}: its data has no image address under the key {key!r}")
        studio = "" if self.fetcher is None or self.fetcher.studio_url is None else self.fetcher.studio_url
        digest = hashlib.sha256(f"{studio}\0{address}".encode()).hexdigest()[:16]
        # made of digits and letters alone, whatever the id and the address are
        name = f"{''.join(c for c in task_id if c.isalnum())[:40]}-{digest}{_suffix(address)}"
        # a file on this disk may have been replaced since, what an address leads to is taken to stay
        encoded = self._local(address, where)
        if encoded is None:
            if (self.cache / name).exists():
                return name
            encoded = self._fetched(task_id, address, key, where)
        decode(encoded, where)
        with atomic_file(self.cache / name, overwrite=True) as aside:
            aside.write_bytes(encoded)
        return name

    def miss(self, error: ImageError) -> None:
        """Note an image that is gone; raise where it may not be, or where it is Label Studio that is gone."""
        if self.client is not None:
            self.client.version()
        self.gone.append(str(error))
        if self.on_error == "fail" and len(self.gone) == _NAMED:
            self.complain("at least ")

    def complain(self, much: str = "") -> None:
        """Raise, if images are gone that may not be."""
        if self.gone and self.on_error == "fail":
            raise CorrectionsError(
                f"{much}{len(self.gone)} image(s) cannot be had; --on-error skip leaves them out: {'; '.join(self.gone)}"
            )

    def _local(self, address: str, where: str) -> bytes | None:
        try:
            path = self.finder.find(read_address(address), where)
        except FormatError as error:  # it fits two, or two fit it
            raise ImageError(str(error)) from error
        return None if path is None else path.read_bytes()

    def _fetched(self, task_id: str, address: str, key: str, where: str) -> bytes:
        if self.fetcher is None:
            raise ImageError(f"{where}: {self.finder.missing('its image')}")
        number: Any = int(task_id) if task_id.isdigit() else task_id
        return self.fetcher.read({"id": number, "data": {key: address}}, key)


def _suffix(address: str) -> str:
    name = "" if address.startswith("data:") else Path(stored_name(address)).suffix.lower()
    return name if len(name) <= 6 and name[1:].isalnum() else ""
