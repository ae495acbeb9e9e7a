"""Keras without the greetings of the native libraries below it."""

from __future__ import annotations

import os
import re
import sys
import tempfile

# What TensorFlow's C++ says of processors and GPUs when all is well: its lines, and one that goes on without a mark.
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl|[IWE]\d{4} [\d:. ]+\S+:\d+\] |To enable the following instructions)"
)


def import_keras() -> None:
    """Import Keras and find its devices; what TensorFlow's native code writes to stderr meanwhile is shown only if that fails.

    TensorFlow's C++ says what it thinks of the processor and of missing GPUs before any of its settings is read, in the
    middle of progress bars. Whatever else is written to stderr, by other threads, comes when Keras is there.

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
        else:
            held.seek(0)
            for line in held:
                if not _GREETING.match(line):
                    os.write(stderr, line)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
