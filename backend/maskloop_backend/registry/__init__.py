"""Model versions on disk."""

from .history import RegistryError
from .store import Registry

__all__ = ["Registry", "RegistryError"]
