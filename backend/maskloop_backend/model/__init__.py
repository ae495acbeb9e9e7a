"""FCNs: backbones, scores, upsampling, weights, and the bundle that keeps them together with labels and metrics.

This module imports nothing: `config` and `record` work without Keras, the others import it.
"""
