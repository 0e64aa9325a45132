"""The path of a request within the API, whatever base path of a custom domain, or slash at its end, the client sent.

API Gateway chooses a function by the resource, and hands on the path as it was sent: with the base path of a custom
domain's mapping, and with a slash at the end, which it ignores itself (infra/decisions/0031).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from starlette.types import Scope


def path_in_api(scope: Scope) -> str:
    """Returns the decoded path by which the API's routes are defined, without a slash at its end."""
    path: str = scope["path"]
    event = scope.get("aws.event") or {}
    matched = _matched_path(event)
    if matched is not None and sent_path(event).rstrip("/").endswith(matched.rstrip("/")):
        path = unquote(matched)
    return path.rstrip("/") or "/"


def sent_path(event: Mapping[str, Any]) -> str:
    """Returns the path as it was sent, percent-encoded, without the API's stage."""
    return str(event.get("path") or "")


def _matched_path(event: Mapping[str, Any]) -> str | None:
    """Returns the path of the resource that API Gateway chose, with its variables filled in; None where one is missing.
    API Gateway leaves out a slash at the end of a variable, and does not decode it.
    """
    resource, variables = event.get("resource"), event.get("pathParameters") or {}
    if not isinstance(resource, str):
        return None
    segments = [
        variables.get(part[1:-1].removesuffix("+")) if part.startswith("{") else part for part in resource.split("/")
    ]
    return None if None in segments else "/".join(map(str, segments))
