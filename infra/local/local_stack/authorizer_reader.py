"""Reads the authorizers of a SAM template: the property `Auth` of its API and of a function's events."""

from collections.abc import Mapping
from typing import Any

from local_stack.cloudformation import TemplateError
from local_stack.template import Authorizer

# SAM's word for a path that everybody may call.
_NO_AUTHORIZER = "NONE"
# API Gateway's default of AuthorizerResultTtlInSeconds.
_DEFAULT_TTL_S = 300


def read_authorizers(where: str, auth: Mapping[str, Any], logical_ids: Mapping[str, str]) -> dict[str, Authorizer]:
    """Returns name → authorizer, from the resolved property `Auth` of the API.

    `logical_ids`: physical name of a function → its logical id. Raises TemplateError.
    """
    found = auth.get("Authorizers") or {}
    return {name: _authorizer(f"{where}.Authorizers.{name}", node, logical_ids) for name, node in found.items()}


def authorizer_of(where: str, event_auth: Mapping[str, Any], api_auth: Mapping[str, Any]) -> str:
    """Returns the name of the authorizer of one path, empty if it has none. Raises TemplateError."""
    name = str(event_auth.get("Authorizer") or api_auth.get("DefaultAuthorizer") or _NO_AUTHORIZER)
    if name == _NO_AUTHORIZER:
        return ""
    if name not in (api_auth.get("Authorizers") or {}):
        raise TemplateError(f"{where}: the API has no authorizer {name}")
    return name


def _authorizer(where: str, node: Mapping[str, Any], logical_ids: Mapping[str, str]) -> Authorizer:
    if node.get("FunctionPayloadType") != "REQUEST":
        raise TemplateError(f"{where}.FunctionPayloadType: the local stack knows only REQUEST")
    arn = str(node.get("FunctionArn"))
    name = (arn.split(":") + [""] * 7)[6]
    if name not in logical_ids:
        raise TemplateError(f"{where}.FunctionArn: {arn} is not a function of this template")
    identity = node.get("Identity") or {}
    unknown = identity.keys() - {"Headers", "QueryStrings", "ReauthorizeEvery"}
    if unknown:
        raise TemplateError(f"{where}.Identity: the local stack does not know {', '.join(sorted(unknown))}")
    made = Authorizer(
        logical_ids[name],
        ttl_s=int(identity.get("ReauthorizeEvery", _DEFAULT_TTL_S)),
        identity_headers=tuple(str(header).lower() for header in identity.get("Headers") or ()),
        identity_query=tuple(str(parameter) for parameter in identity.get("QueryStrings") or ()),
    )
    if made.ttl_s and not (made.identity_headers or made.identity_query):
        raise TemplateError(f"{where}.Identity: without Headers or QueryStrings, ReauthorizeEvery must be 0")
    return made
