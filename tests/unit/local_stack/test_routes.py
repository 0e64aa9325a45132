"""Which route a path belongs to."""

import pytest

from local_stack.cloudformation import TemplateError
from local_stack.routes import RoutingTable
from local_stack.template import Route

TABLE = RoutingTable(
    [
        Route("/", "GET", "root"),
        Route("/models", "GET", "list"),
        Route("/models/{id}", "GET", "one"),
        Route("/models/{id}/files", "ANY", "files"),
        Route("/models/special", "GET", "special"),
        Route("/models/special", "POST", "special-post"),
        Route("/deep/{rest+}", "GET", "deep"),
    ]
)


@pytest.mark.parametrize(
    ("path", "function", "variables"),
    [
        ("/", "root", {}),
        ("/models", "list", {}),
        ("/models/", "list", {}),
        ("/models/a", "one", {"id": "a"}),
        ("/models/a%2Fb%3A1", "one", {"id": "a%2Fb%3A1"}),
        ("/models/special", "special", {}),
        ("/models/a/files", "files", {"id": "a"}),
        ("/deep/a/b/c", "deep", {"rest": "a/b/c"}),
        ("/deep/a%2Fb", "deep", {"rest": "a%2Fb"}),
    ],
)
def test_the_most_specific_resource_has_priority(path: str, function: str, variables: dict[str, str]) -> None:
    match = TABLE.find("GET", path)
    assert match is not None
    assert (match.route.function, match.variables) == (function, variables)


@pytest.mark.parametrize("path", ["/model", "/models/a/b", "/deep", "/MODELS", "/models/a/files/x"])
def test_a_path_that_is_not_defined_has_no_route(path: str) -> None:
    assert TABLE.find("GET", path) is None


def test_a_method_that_is_not_defined_has_no_route() -> None:
    assert TABLE.find("DELETE", "/models") is None


def test_a_resource_without_the_method_leaves_the_request_to_a_less_specific_one() -> None:
    """As measured on AWS: github.com/ministackorg/ministack/pull/1423."""
    table = RoutingTable(
        [
            Route("/{proxy+}", "ANY", "rest"),
            Route("/models/special", "GET", "a"),
            Route("/models/{id}", "DELETE", "b"),
        ]
    )
    found = [table.find(method, "/models/special") for method in ("GET", "DELETE", "POST")]
    assert [match.route.function for match in found if match] == ["a", "b", "rest"]


@pytest.mark.parametrize(
    ("path", "function", "variables"),
    [
        ("/", "root", {}),
        ("//", "root", {}),
        ("/v1/chat", "chat", {}),
        ("/v1/chat/", "chat", {}),
        ("//v1/chat", "chat", {}),
        ("/v1//chat", "rest", {"proxy": "v1//chat"}),
        ("/v1", "rest", {"proxy": "v1"}),
        ("/v1/models/", "rest", {"proxy": "v1/models"}),
        ("/v1/models/a/", "model", {"model": "a"}),
        ("/v1/models//a", "model", {"model": "/a"}),
        ("/v2/models/a", "rest", {"proxy": "v2/models/a"}),
    ],
)
def test_outer_slashes_are_ignored_and_inner_ones_are_kept(path: str, function: str, variables: dict[str, str]) -> None:
    """As measured on AWS: the snapshots of LocalStack's `test_lambda_aws_proxy_integration`."""
    table = RoutingTable(
        [
            Route("/", "ANY", "root"),
            Route("/{proxy+}", "ANY", "rest"),
            Route("/v1/chat", "ANY", "chat"),
            Route("/v1/models/{model+}", "ANY", "model"),
        ]
    )
    match = table.find("GET", path)
    assert match is not None
    assert (match.route.function, match.variables) == (function, variables)


def test_any_matches_every_method_that_is_not_defined() -> None:
    table = RoutingTable([Route("/x", "ANY", "any"), Route("/x", "GET", "get")])
    found = [table.find(method, "/x") for method in ("GET", "POST", "OPTIONS")]
    assert [match.route.function for match in found if match] == ["get", "any", "any"]


def test_a_route_with_two_functions_is_an_error() -> None:
    with pytest.raises(TemplateError, match="GET /x belongs to both a and b"):
        RoutingTable([Route("/x", "GET", "a"), Route("/x", "GET", "b")])
