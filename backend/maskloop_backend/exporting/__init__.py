"""A version as a graph for other runtimes: ONNX, OpenVINO, TensorFlow Lite, SavedModel."""

from .graphs import KINDS, GraphKind, export_graph

__all__ = ["KINDS", "GraphKind", "export_graph"]
