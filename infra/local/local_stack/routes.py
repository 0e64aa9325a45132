"""Finds the route of a path, by the rules of API Gateway's REST APIs."""

from collections.abc import Iterable, Mapping
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
        """Returns the route of `path` (percent-encoded, without query), or None when the path or its method is not
        defined.

        An encoded slash (`%2F`) does not end a segment; a slash at the end of the path is ignored.
        """
        found = self._resource(path)
        if found is None:
            return None
        resource, variables = found
        route = resource.methods.get(method) or resource.methods.get("ANY")
        return Match(route, variables) if route else None

    def methods(self, path: str) -> list[str]:
        """Returns the methods of `path`, for the answer to OPTIONS."""
        found = self._resource(path)
        return sorted(found[0].methods) if found else []

    def _resource(self, path: str) -> tuple[_Resource, dict[str, str]] | None:
        parts = path.strip("/").split("/") if path.strip("/") else []
        for resource in self._resources:
            variables = resource.match(parts)
            if variables is not None:
                return resource, variables
        return None


def _segments(path: str) -> tuple[tuple[_Kind, str], ...]:
    return tuple(_segment(part) for part in path.strip("/").split("/") if part)


def _segment(part: str) -> tuple[_Kind, str]:
    if part.startswith("{") and part.endswith("+}"):
        return _Kind.GREEDY, part[1:-2]
    if part.startswith("{") and part.endswith("}"):
        return _Kind.VARIABLE, part[1:-1]
    return _Kind.LITERAL, part
