"""The HTTP backend that Label Studio talks to."""
