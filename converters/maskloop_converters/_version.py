"""The one place where the version number stands; hatchling reads it at build time."""

__version__ = "0.1.0"
