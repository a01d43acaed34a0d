"""Reads what calls consume from a copy of the bytes that pass."""
