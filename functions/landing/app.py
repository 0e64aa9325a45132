"""The page for people, the description of the API, and the answer to every path that no other function has."""

from fastapi import Request, Response

from sekha_llm_bridge.api import create_app, lambda_handler
from sekha_llm_bridge.api.landing import endpoint
from sekha_llm_bridge.api.landing.errors import REQUEST_ID_HEADERS, error_body_of_any_api

app = create_app(uses_vectors=True, error_body=error_body_of_any_api, request_id_headers=REQUEST_ID_HEADERS)


@app.get("/")
async def landing(request: Request) -> Response:
    """What runs here: a page for a browser, JSON for a program."""
    return await endpoint.landing(request)


@app.get("/openapi.json")
async def description(request: Request) -> Response:
    """The API's description in OpenAPI's format."""
    return endpoint.description(request)


@app.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Nothing: the page has its icon inside."""
    return endpoint.icon(request)


for path in endpoint.OLLAMAS_OTHER_PATHS:
    app.api_route(path, methods=["GET", "POST", "DELETE"])(endpoint.ollamas_other_path)

handler = lambda_handler(app)
