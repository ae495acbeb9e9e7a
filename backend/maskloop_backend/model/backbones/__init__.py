"""The pretrained or small networks under the score layers: a table of them, and a file for each kind that is built here.

This module imports nothing: `table` works without Keras, the others import it.
"""
