"""The model, its training and its server, and everything that talks to Label Studio."""
