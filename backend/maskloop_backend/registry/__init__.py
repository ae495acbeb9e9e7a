"""Model versions on disk."""

from .store import Registry, RegistryError

__all__ = ["Registry", "RegistryError"]
