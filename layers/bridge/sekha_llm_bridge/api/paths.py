"""The paths of all functions, for the hint in the error for an unknown path."""

import difflib

PATHS = (
    *("/v1/chat/completions", "/api/v1/chat/completions", "/v1/embeddings", "/embed", "/embeddings", "/api/v1/embed"),
    *("/api/v1/search", "/api/v1/route", "/v1/models", "/api/v1/models", "/api/v1/tasks"),
    *("/api/v1/health", "/health", "/api/v1/health/providers"),
)
_MIN_SIMILARITY = 0.7


def nearest_path(path: str) -> str | None:
    """Returns the path that a caller probably meant: one that has the same end, else a similar one; None where none is
    similar.
    """
    wanted = path.rstrip("/").lower()
    same_end = (known for known in PATHS if len(wanted) > 1 and known != path and known.endswith(wanted))
    similar = difflib.get_close_matches(wanted, PATHS, n=1, cutoff=_MIN_SIMILARITY)
    return next(iter([*same_end, *similar]), None)
