"""`GET /`, `GET /openapi.json` and `GET /favicon.ico`."""

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.health.endpoint import report_for_unknown_caller
from sekha_llm_bridge.api.known_caller import known_caller
from sekha_llm_bridge.api.landing.accept import prefers_html
from sekha_llm_bridge.api.landing.address import public_url
from sekha_llm_bridge.api.landing.overview import DESCRIPTION_FILE, overview
from sekha_llm_bridge.api.request_state import whole_bridge_of

_NOT_SNIFFED = {"x-content-type-options": "nosniff"}
_NOT_STORED = {**_NOT_SNIFFED, "cache-control": "no-store", "vary": "accept"}
_A_DAY = "public, max-age=86400"


async def landing(request: Request) -> Response:
    """`GET /`: a page where the client prefers HTML, else the same as JSON. Unknown callers get status and version."""
    bridge, caller = whole_bridge_of(request), await known_caller(request)
    if caller is None:
        body = await report_for_unknown_caller(bridge)
    else:
        body = await overview(bridge.for_caller(caller), public_url(request))
    if not prefers_html(request.headers.get("accept", "")):
        return json_response(body, headers=_NOT_STORED)
    from sekha_llm_bridge.api.landing.page import CONTENT_SECURITY_POLICY, page, page_without_key

    html = page_without_key(body) if caller is None else page(body, bridge.clock.now())
    headers = {**_NOT_STORED, "content-security-policy": CONTENT_SECURITY_POLICY, "referrer-policy": "no-referrer"}
    return Response(html, 200, headers, "text/html; charset=utf-8")


def description(_request: Request) -> Response:
    """`GET /openapi.json`. The file is made when the bridge is built, so nothing is imported for it."""
    headers = {**_NOT_SNIFFED, "cache-control": "public, max-age=300"}
    return Response(DESCRIPTION_FILE.read_bytes(), 200, headers, "application/json")


def icon(_request: Request) -> Response:
    """`GET /favicon.ico`: none, which a browser need not ask for again on the same day."""
    return Response(status_code=204, headers={"cache-control": _A_DAY})
