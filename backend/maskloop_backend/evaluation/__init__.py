"""How good a model version is: measured on labelled images, compared with another version, reported."""
