"""Images that a request refers to: which addresses may be fetched, what the bytes of an image are, and fetching it for
providers that take bytes only.

Nothing is imported here: a function that fetches no image must not load the fetcher at its start.
"""
