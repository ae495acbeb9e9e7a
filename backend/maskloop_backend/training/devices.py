"""Training on all accelerators of this machine: each takes a share of every batch.

The network's variables are on all of them, and JAX computes as if there were one: loss and gradient are those of the whole
batch, a mean over all its judged pixels, whatever its shares (keras.distribution, data parallelism).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import keras

# Kinds of devices that share batches; the first kind that there is. Cores of a CPU share the work without this.
KINDS = ("gpu", "tpu")


class Devices:
    """The accelerators that share the batches of a training.

    Args:
        batch_size: they are as many as divide it without a rest.

    Attributes:
        count: 1 where nothing is shared.
        unused: accelerators that stay idle, for want of a batch size that they divide or of a backend that shares.
    """

    def __init__(self, batch_size: int) -> None:
        found: list[str] = next((names for kind in KINDS if (names := keras.distribution.list_devices(kind))), [])
        shared = found if keras.backend.backend() == "jax" else found[:1]
        self.count = next((n for n in range(len(shared), 1, -1) if batch_size % n == 0), 1)
        self.unused = max(0, len(found) - self.count)
        self._distribution = keras.distribution.DataParallel(devices=shared[: self.count]) if self.count > 1 else None

    def together(self) -> AbstractContextManager[None]:
        """Return the context in which variables are made that all devices have, and steps that they share."""
        # a context manager of Keras' own is there for one use only
        return nullcontext() if self._distribution is None else self._distribution.scope()

    def said(self) -> str:
        """Return what people should know: '' where one device is all there is."""
        if self.count == 1 and not self.unused:
            return ""
        idle = f", {self.unused} idle" if self.unused else ""
        if keras.backend.backend() != "jax":
            return f"on 1 device{idle}: KERAS_BACKEND=jax shares batches among all"
        why = ": the batch size is no multiple of all" if self.unused else ""
        return f"on {self.count} device{'s' * (self.count > 1)}{idle}{why}"
