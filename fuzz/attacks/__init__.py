"""What hostile clients, hosts and files try, one function an attack; each names the promise of docs/security.md that it tries.

A module holds the attacks of one kind. An attack gets a :class:`~attacks.rig.Rig`, starts with it the servers that it
needs, and returns its figure as a line of text (peak memory, longest wait of another annotator, where the token went).
It raises :class:`Broken` where a promise does not hold, and is stopped where it takes longer than it may.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from .rig import Rig


class Broken(Exception):  # noqa: N818 - what a run of the attacks reports, not a fault of it
    """A promise does not hold; the message says what happened instead."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: of its function; docs/security.md names it.
        run: does it; returns the figure.
        seconds: it may take at most so long, the start of its servers included.
    """

    name: str
    run: Callable[[Rig], str]
    seconds: float


_ATTACKS: dict[str, Attack] = {}


def attack(*, seconds: float = 120.0) -> Callable[[Callable[[Rig], str]], Callable[[Rig], str]]:
    """Register a function of a module of this package as an attack."""

    def register(function: Callable[[Rig], str]) -> Callable[[Rig], str]:
        name = function.__name__
        if name in _ATTACKS:
            raise ValueError(f"two attacks are called {name}")
        _ATTACKS[name] = Attack(name, function, seconds)
        return function

    return register


def attacks() -> dict[str, Attack]:
    """Return the attacks of all modules by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(_ATTACKS)


def hold(true: bool, otherwise: str) -> None:
    """Raise :class:`Broken` where something does not hold."""
    if not true:
        raise Broken(otherwise)
