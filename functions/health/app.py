"""Health, as the last scheduled checks found it."""

from fastapi import Request, Response

from sekha_llm_bridge.api import create_app, lambda_handler
from sekha_llm_bridge.api.health import endpoint

app = create_app(uses_vectors=True)


@app.get("/api/v1/health")
async def overview(request: Request) -> Response:
    """The state of every provider."""
    return await endpoint.overview(request)


@app.get("/health")
async def redirect(request: Request) -> Response:
    """The old address."""
    return await endpoint.redirect(request)


@app.get("/api/v1/health/providers")
async def providers(request: Request) -> Response:
    """The same, counted."""
    return await endpoint.providers(request)


handler = lambda_handler(app)
