"""One prediction, before a version is imported or promoted: right checksums do not say that a network computes anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..model.record import BundleError

# A side that is a multiple of no stride.
_SIZE = (45, 70)


def try_version(directory: Path) -> None:
    """Load a version and let it predict one small image; needs Keras.

    Args:
        directory: of a saved version.

    Raises:
        BundleError: it is damaged, does not fit its record, or what it computes is not finite.
    """
    import keras

    from ..model.bundle import Bundle

    bundle = Bundle.load(directory)
    # a ramp in every channel: values from black to white
    image = np.linspace(0, 255, _SIZE[0] * _SIZE[1] * 3, dtype=np.float32).reshape(1, *_SIZE, 3)
    logits = keras.ops.convert_to_numpy(bundle.model(image, training=False))
    expected = (1, *_SIZE, bundle.record.architecture.classes)
    if logits.shape != expected or not np.isfinite(logits).all():
        raise BundleError(
            f"{directory}: {bundle.version} was tried on one image and gave "
            f"{'numbers that are not finite' if logits.shape == expected else f'an array {logits.shape}'}; "
            f"expected finite logits {expected}. Nothing was changed"
        )
