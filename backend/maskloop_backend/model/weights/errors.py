"""What is wrong with weights that others trained."""

from __future__ import annotations

from maskloop_converters.errors import DataError


class WeightsError(DataError):
    """Pretrained weights that cannot be had, cannot be read or do not fit the network."""
