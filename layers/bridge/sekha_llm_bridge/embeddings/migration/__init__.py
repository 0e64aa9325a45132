"""Moves the collections of older versions of the bridge to names that end with their dimension."""
