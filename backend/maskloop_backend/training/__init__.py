"""Datasets, augmentation, the training loop and its metrics."""
