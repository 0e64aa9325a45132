"""Vectors that Chroma could not take: packed, queued, counted, and stored in order when it is back."""
