"""Quantisation by NNCF (extra ``int8``): a graph of OpenVINO whose convolutions compute with 8 bits.

Ranges of activations are those that some images give; weights are quantised by channel, and biases corrected for what that
moves on average. Serving the result needs OpenVINO only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .openvino_graphs import apart, import_openvino
from .openvino_runtime import RuntimeUnavailableError, require


def require_quantizer() -> None:
    """Raise RuntimeUnavailableError where NNCF or OpenVINO is missing."""
    require()
    if importlib.util.find_spec("nncf") is None:
        raise RuntimeUnavailableError("NNCF, which quantises, is not installed: pip install 'maskloop[int8]'")


def quantize_graph(scores: Any, batches: Iterable[NDArray[np.uint8]]) -> tuple[Any, str]:
    """Return a quantised graph, and the quantiser's name and version.

    Args:
        scores: of :func:`~.openvino_graphs.scores_graph`; it stays as it is.
        batches: uint8 (1, H, W, 3), what the network sees of some images.
    """
    require_quantizer()
    import_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    name = scores.inputs[0].any_name
    inputs = [{name: batch} for batch in batches]
    # its progress bars are no output of ours
    with contextlib.redirect_stdout(sys.stderr):
        graph = apart(
            lambda: nncf.quantize(
                scores.clone(), nncf.Dataset(inputs), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs)
            )
        )
    return graph, f"nncf {nncf.__version__}"


def save_graph(graph: Any, path: Path) -> None:
    """Write a graph as a .xml, its constants as they are into the .bin beside it."""
    import_openvino().save_model(graph, path, compress_to_fp16=False)
