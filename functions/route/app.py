"""Which model a request would get, and why."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.models import route

app = create_app(secrets=SecretUse.PROVIDERS)


@app.post("/api/v1/route")
async def explain_route(request: Request) -> Response:
    """The plan, without carrying it out."""
    return await route.explain(request)


handler = lambda_handler(app)
