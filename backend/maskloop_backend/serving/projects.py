"""What the server remembers of Label Studio's projects: where their images are, and their label configs."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from maskloop_converters.errors import LabelError
from maskloop_converters.samples import LabelSet

from ..studio import label_config
from ..studio.addresses import AddressPolicy
from ..studio.images import DOWNLOAD_SECONDS, ImageFetcher
from ..studio.label_config import LabelConfig, LabelMapping
from .limits import Refusal

# Projects, label configs and Label Studios that are remembered; the least recently used are forgotten.
REMEMBERED = 1000
# Characters of label configs that are remembered; what is parsed of them takes about as many bytes several times.
REMEMBERED_CHARACTERS = 16 << 20

# Digits of an id: Label Studio's are 64 bits.
_LONGEST_ID = 18

_K = TypeVar("_K")
_V = TypeVar("_V")


class LeastRecent(Generic[_K, _V]):
    """A thread-safe dictionary of bounded length that forgets the least recently used entries.

    Args:
        length: of the dictionary.
        size: returns how large an entry is; all together are at most ``most``.
        most: the largest sum of sizes.
    """

    def __init__(
        self, length: int = REMEMBERED, *, size: Callable[[_V], int] = lambda _: 0, most: int = REMEMBERED_CHARACTERS
    ) -> None:
        self._length = length
        self._size = size
        self._most = most
        self._total = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        """Return an entry and make it the most recently used one."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def set(self, key: _K, value: _V) -> None:
        """Store an entry as the most recently used one."""
        with self._lock:
            if key in self._entries:
                self._total -= self._size(self._entries.pop(key))
            self._entries[key] = value
            self._total += self._size(value)
            while len(self._entries) > self._length or self._total > self._most:
                _, forgotten = self._entries.popitem(last=False)
                self._total -= self._size(forgotten)

    def get_or(self, key: _K, make: Callable[[], _V]) -> _V:
        """Return an entry, made first where there is none; two threads may both make one."""
        value = self.get(key)
        if value is None:
            value = make()
            self.set(key, value)
        return value


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one Label Studio.

    Attributes:
        url: without a trailing slash; None when neither the operator nor /setup has said.
        token: legacy or personal access token, None where there is none.
    """

    url: str | None
    token: str | None = field(repr=False)


class Projects:
    """Remembers what /setup says of each project; the operator's settings win.

    Whoever can call /setup says where a project's Label Studio is. So the operator's token is used with the operator's
    address and with no other, and what /setup says of address and token stays together.

    Args:
        studio_url: the operator's address of Label Studio, None if it was not said.
        studio_token: goes there only; without an address it goes nowhere.
        policy: of the addresses that images are fetched from.
        fetch_seconds: for one download.
    """

    def __init__(
        self,
        *,
        studio_url: str | None,
        studio_token: str | None,
        policy: AddressPolicy | None = None,
        fetch_seconds: float = DOWNLOAD_SECONDS,
    ) -> None:
        self._url = studio_url
        self._token = studio_token
        self._policy = policy
        self._fetch_seconds = fetch_seconds
        self._connections: LeastRecent[str, Connection] = LeastRecent()
        self._fetchers: LeastRecent[Connection, ImageFetcher] = LeastRecent(16)
        # with the length of its XML
        self._configs: LeastRecent[str, tuple[LabelConfig, int]] = LeastRecent(size=lambda parsed: parsed[1])
        self._mappings: LeastRecent[tuple[str, str], LabelMapping] = LeastRecent()
        # the label config of projects whose /predict does not carry it
        self._schemas: LeastRecent[str, str] = LeastRecent(size=len)

    def remember(self, project: Any, *, schema: str, hostname: str | None, token: str | None) -> None:
        """Note what /setup says of a project; `maskloop doctor` asks without saying where Label Studio is."""
        key = project_id(project)
        self._schemas.set(key, schema)
        # both or none: one Label Studio's token must never go to another one's address
        if hostname or token:
            self._connections.set(key, Connection(hostname or None, token or None))

    def studio_url(self, project: Any) -> str | None:
        """Return where a project's Label Studio is asked for images, None where nobody has said."""
        return self.connection(project).url

    def connection(self, project: Any) -> Connection:
        """Return how to reach a project's Label Studio, as far as anybody has said."""
        said = self._connections.get(project_id(project)) or Connection(None, None)
        return Connection(self._url, self._token or said.token) if self._url else said

    def fetcher(self, project: Any) -> ImageFetcher:
        """Return what fetches the images of a project's tasks."""
        connection = self.connection(project)
        return self._fetchers.get_or(
            connection,
            lambda: ImageFetcher(connection.url, connection.token, policy=self._policy, seconds=self._fetch_seconds),
        )

    def schema(self, project: Any) -> str | None:
        """Return the label config that a project had at its last /setup."""
        return self._schemas.get(project_id(project))

    def config(self, xml: str) -> LabelConfig:
        """Return a label config, parsed once.

        Raises:
            Refusal: it is no XML, too large, or has no masks.
        """
        try:
            return self._configs.get_or(_digest(xml), lambda: (label_config.parse(xml), len(xml)))[0]
        except LabelError as error:
            raise Refusal(422, str(error), logged="the label config is none") from error

    def mapping(self, xml: str, version: str, labels: LabelSet) -> LabelMapping:
        """Return how a model's classes map to a label config's labels; parsed and matched once.

        Args:
            xml: the label config.
            version: of the model.
            labels: of the model.

        Raises:
            Refusal: the label config is no XML, has no masks, or none of its labels is the model's.
        """
        config = self.config(xml)
        try:
            return self._mappings.get_or((_digest(xml), version), lambda: label_config.match(config, labels))
        except LabelError as error:
            raise Refusal(422, str(error), logged="the label config does not fit the model") from error


def _digest(xml: str) -> str:
    return hashlib.sha256(xml.encode("utf-8", "surrogatepass")).hexdigest()


def project_id(project: Any) -> str:
    """Return a project's id: Label Studio sends '5.1795333547' (id and time), older ones 5."""
    return str(project).partition(".")[0] if project is not None else ""


def project_number(project: Any) -> int | None:
    """Return a project's id as a number; None where it is none, as in requests that name no project."""
    text = project_id(project)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID else None
