"""The commands `convert` and `inspect`; click only, no logic."""
