"""Active learning: which images are worth labelling next."""
