"""Files <-> a stream of samples, one module a format."""
