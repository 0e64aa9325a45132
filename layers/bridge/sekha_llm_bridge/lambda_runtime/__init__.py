"""A Lambda runtime that can stream responses, in place of Lambda's own Python runtime, which cannot.

The layer's script `stream-responses` starts it. It runs the function's handler, which it finds by name. It and the rest
of the package do not import each other.
"""
