"""Drawn street scenes and the command that shows the whole loop on them."""
