"""Addresses in Label Studio that people open in their browser."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def project_page(studio_url: str, project: int | str) -> str:
    """Return where a browser finds a project's data manager; ``?task=ID`` opens a task in it.

    Args:
        studio_url: what browsers call Label Studio; a user and password in it are left out.
        project: Label Studio's id.
    """
    parts = urlsplit(studio_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/projects/{project}/data", "", ""))
