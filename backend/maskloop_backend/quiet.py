"""Keras without the greetings of the native libraries below it."""

from __future__ import annotations

import os
import sys
import tempfile


def import_keras() -> None:
    """Import Keras and find its devices; what native code writes to stderr meanwhile is shown only if that fails.

    TensorFlow's C++ says what it thinks of the processor and of missing GPUs before any of its settings is read, in the
    middle of progress bars.

    Raises:
        ImportError: Keras or its backend is not installed.
    """
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_physical_devices()
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
