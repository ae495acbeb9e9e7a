"""The credentials that a backend wants, where it wants any."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackendLogin:
    """Basic auth credentials of the backend.

    Attributes:
        user: as given to `maskloop serve`.
        password: likewise.
    """

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        """Show no password."""
        return f"BackendLogin(user={self.user!r})"
