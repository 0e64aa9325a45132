"""Finds the route of a path, by the rules of API Gateway's REST APIs.

AWS does not document all of them. Sources of measurements on AWS: the snapshots of LocalStack's
`test_lambda_aws_proxy_integration` for slashes, github.com/ministackorg/ministack/pull/1423 for methods.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from local_stack.cloudformation import TemplateError
from local_stack.template import Route


class _Kind(IntEnum):
    """What a segment of a resource matches. A lower value is more specific, and has priority."""

    LITERAL = 0
    VARIABLE = 1
    GREEDY = 2


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request, and its path variables. They stay percent-encoded, as in API Gateway."""

    route: Route
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Resource:
    """One path of the API, with its methods."""

    segments: tuple[tuple[_Kind, str], ...]
    methods: dict[str, Route] = field(default_factory=dict)

    def match(self, parts: list[str]) -> dict[str, str] | None:
        variables: dict[str, str] = {}
        for index, (kind, name) in enumerate(self.segments):
            if kind is _Kind.GREEDY:
                variables[name] = "/".join(parts[index:])
                return variables if index < len(parts) else None
            if index >= len(parts) or (kind is _Kind.LITERAL and parts[index] != name):
                return None
            if kind is _Kind.VARIABLE:
                variables[name] = parts[index]
        return variables if len(parts) == len(self.segments) else None


class RoutingTable:
    """All routes of an API."""

    def __init__(self, routes: Iterable[Route]) -> None:
        resources: dict[str, _Resource] = {}
        for route in routes:
            resource = resources.setdefault(route.path, _Resource(_segments(route.path)))
            other = resource.methods.setdefault(route.method, route)
            if other is not route:
                raise TemplateError(
                    f"{route.method} {route.path} belongs to both {other.function} and {route.function}"
                )
        self._resources = sorted(resources.values(), key=lambda one: [kind for kind, _ in one.segments])

    def find(self, method: str, path: str) -> Match | None:
        """Returns the route of `path` (percent-encoded, without query), or None when no resource has its path and
        method.

        As in API Gateway, a resource without the method leaves the request to a less specific one, such as a greedy
        one. Slashes at the beginning and at the end of the path are ignored; two slashes inside it are not one, and an
        encoded slash (`%2F`) does not end a segment.
        """
        for resource, variables in self._matching(path):
            route = resource.methods.get(method) or resource.methods.get("ANY")
            if route is not None:
                return Match(route, variables)
        return None

    def methods(self, path: str) -> list[str]:
        """Returns the methods of `path`, for the answer to OPTIONS."""
        found = next(self._matching(path), None)
        return sorted(found[0].methods) if found else []

    def _matching(self, path: str) -> Iterator[tuple[_Resource, dict[str, str]]]:
        """Yields the resources that match a path, the most specific one first."""
        parts = path.strip("/").split("/") if path.strip("/") else []
        for resource in self._resources:
            variables = resource.match(parts)
            if variables is not None:
                yield resource, variables


def _segments(path: str) -> tuple[tuple[_Kind, str], ...]:
    return tuple(_segment(part) for part in path.strip("/").split("/") if part)


def _segment(part: str) -> tuple[_Kind, str]:
    if part.startswith("{") and part.endswith("+}"):
        return _Kind.GREEDY, part[1:-2]
    if part.startswith("{") and part.endswith("}"):
        return _Kind.VARIABLE, part[1:-1]
    return _Kind.LITERAL, part
