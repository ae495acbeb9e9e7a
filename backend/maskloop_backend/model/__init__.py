"""FCN-32s: backbones, head, upsampling, weights, and the bundle that keeps them together with labels and metrics."""
