"""Writes that Chroma did not take: encoded, put into a queue, counted, and stored in order when Chroma is back."""
