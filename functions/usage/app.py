"""What was used: tokens and costs by day, model or API key."""

from fastapi import Request, Response

from sekha_llm_bridge.api import create_app, lambda_handler
from sekha_llm_bridge.api.usage import endpoint

app = create_app(uses_models=False)


@app.get("/api/v1/usage")
async def usage(request: Request) -> Response:
    """The sums of a period."""
    return await endpoint.usage(request)


handler = lambda_handler(app)
