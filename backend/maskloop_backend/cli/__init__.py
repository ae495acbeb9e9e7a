"""The command line; click only, no logic."""
