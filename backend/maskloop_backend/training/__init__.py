"""Training: examples from any dataset, augmentation, the loop with its checkpoints, and what it measures.

`settings` and `metrics` work without Keras, the others import it when they train.
"""
