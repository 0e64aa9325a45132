"""Backs up collections of a Chroma server to a file, and restores them from it."""
