"""Weights that others trained: where they are had, how their files are read, and how they get into a network.

This module imports nothing: `errors` and `torch_files` work without Keras.
"""
