"""`GET /`, `GET /openapi.json` and `GET /favicon.ico`."""

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.error_response import error_response
from sekha_llm_bridge.api.health.endpoint import report_for_unknown_caller
from sekha_llm_bridge.api.known_caller import known_caller
from sekha_llm_bridge.api.landing.accept import prefers_html
from sekha_llm_bridge.api.landing.address import public_url
from sekha_llm_bridge.api.landing.overview import DESCRIPTION_FILE, overview
from sekha_llm_bridge.api.ollama.errors import ollama_error_body
from sekha_llm_bridge.api.request_state import whole_bridge_of
from sekha_llm_bridge.errors import UnknownPath

_NOT_SNIFFED = {"x-content-type-options": "nosniff"}
_NOT_STORED = {**_NOT_SNIFFED, "cache-control": "no-store", "vary": "accept"}
_A_DAY = "public, max-age=86400"
_OLLAMAS_ANSWER = {"ollama": "Ollama is running"}
"""The text of Ollama's `GET /`, in which its clients look for these words."""
OLLAMAS_OTHER_PATHS = (
    *(f"/api/{name}" for name in ("pull", "push", "create", "copy", "delete", "me", "signout", "status")),
    *("/api/blobs/{rest:path}", "/api/user/{rest:path}", "/api/experimental/{rest:path}"),
)
"""Paths of Ollama's API that the bridge does not have."""


async def landing(request: Request) -> Response:
    """`GET /`: a page where the client prefers HTML, else the same as JSON. Unknown callers get status and version."""
    bridge, caller = whole_bridge_of(request), await known_caller(request)
    if caller is None:
        body = await report_for_unknown_caller(bridge)
    else:
        body = await overview(bridge.for_caller(caller), public_url(request))
    if not prefers_html(request.headers.get("accept", "")):
        return json_response({**body, **_OLLAMAS_ANSWER}, headers=_NOT_STORED)
    from sekha_llm_bridge.api.landing.page import CONTENT_SECURITY_POLICY, page, page_without_key

    html = page_without_key(body) if caller is None else page(body, bridge.clock.now())
    headers = {**_NOT_STORED, "content-security-policy": CONTENT_SECURITY_POLICY, "referrer-policy": "no-referrer"}
    return Response(html, 200, headers, "text/html; charset=utf-8")


async def ollamas_other_path(request: Request, **_variables: str) -> Response:
    """The error for a path of Ollama's API that the bridge does not have, as Ollama's clients read it: a text."""
    from sekha_llm_bridge.api.paths import unknown_path_message  # as for all other unknown paths

    error = UnknownPath(unknown_path_message(request.scope["path"]))
    return error_response(request, error, error_body=ollama_error_body)


def description(_request: Request) -> Response:
    """`GET /openapi.json`. The file is made when the bridge is built, so nothing is imported for it."""
    headers = {**_NOT_SNIFFED, "cache-control": "public, max-age=300"}
    return Response(DESCRIPTION_FILE.read_bytes(), 200, headers, "application/json")


def icon(_request: Request) -> Response:
    """`GET /favicon.ico`: none, which a browser need not ask for again on the same day."""
    return Response(status_code=204, headers={"cache-control": _A_DAY})
