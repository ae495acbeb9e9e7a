"""The label configs of the projects that are served from a home: what each of them uses of a version.

Kept on disk, so that a training in another process knows which classes its new version must not lose.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from pathlib import Path

from maskloop_converters.atomic import atomic_file
from maskloop_converters.errors import LabelError
from maskloop_converters.samples import LabelSet

from ..studio import label_config
from .holdout import project_directory

LABEL_CONFIG_FILE = "label_config.xml"
# Of projects whose label config is kept, and of characters in all: whoever may call the server might invent projects.
MOST_PROJECTS = 1000
MOST_CHARACTERS = 16 << 20


class LabelConfigs:
    """The label config that each project had when it was last heard of.

    Args:
        home: the directory that holds what is known of projects.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        # (characters, digest) of each that is kept
        self._kept: dict[int, tuple[int, bytes]] | None = None

    def remember(self, project: int, xml: str) -> bool:
        """Keep a project's label config; return whether it is kept: there may be too many already.

        Args:
            project: Label Studio's id.
            xml: the label config.

        Raises:
            OSError: it cannot be written; what was kept before stays.
        """
        said = len(xml), hashlib.sha256(xml.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if self._kept is None:
                self._kept = {number: (len(text), b"") for number, text in self.known().items()}
            if self._kept.get(project) == said:
                return True
            others = [length for number, (length, _) in self._kept.items() if number != project]
            if len(others) >= MOST_PROJECTS or sum(others) + len(xml) > MOST_CHARACTERS:
                return False
            path = project_directory(self._home, project) / LABEL_CONFIG_FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, overwrite=True) as aside:
                aside.write_text(xml, encoding="utf-8", errors="surrogatepass")
            self._kept[project] = said
        return True

    def known(self) -> dict[int, str]:
        """Return the label configs by project; one that cannot be read is left out."""
        found: dict[int, str] = {}
        prefix = project_directory(self._home, "").name
        for path in sorted(self._home.glob(f"projects/{prefix}*/{LABEL_CONFIG_FILE}")):
            number = path.parent.name.removeprefix(prefix)
            if not (number.isascii() and number.isdecimal()):
                continue
            with suppress(OSError, UnicodeDecodeError):
                if path.stat().st_size <= 4 * label_config.MAX_CHARACTERS:
                    found[int(number)] = path.read_text(encoding="utf-8", errors="surrogatepass")
        return found

    def forget(self, project: int) -> bool:
        """Forget the label config of a project that is gone; return whether there was one."""
        path = project_directory(self._home, project) / LABEL_CONFIG_FILE
        with self._lock:
            self._kept = None
            there = path.is_file()
            path.unlink(missing_ok=True)
        return there


def used(xml: str, labels: LabelSet) -> dict[str, frozenset[str]]:
    """Return the classes of a version that a project shows, each with the labels that show it.

    Args:
        xml: the project's label config.
        labels: of the version.
    """
    try:
        mapping = label_config.match(label_config.parse(xml), labels)
    except LabelError:
        return {}  # it is not pre-filled at all
    found: dict[str, set[str]] = {}
    for control in mapping.controls:
        for channel, label in enumerate(labels.classes):
            if (slot := int(control.lut[channel])) != label_config.UNMAPPED:
                found.setdefault(label.name, set()).add(control.names[slot])
    return {name: frozenset(shown) for name, shown in found.items()}
