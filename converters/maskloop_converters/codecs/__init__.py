"""Bytes <-> runs and arrays; nothing here opens a file."""
