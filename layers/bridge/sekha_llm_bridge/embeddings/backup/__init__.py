"""Collections of a Chroma server into a file, and from a file into a server."""
