"""Summaries, in the format of v1."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.memory import endpoint

app = create_app(secrets=SecretUse.PROVIDERS, asks_models=True)


@app.post("/summarize")
@app.post("/api/v1/summarize")
async def summarize(request: Request) -> Response:
    """A summary of messages."""
    return await endpoint.summarize(request)


handler = lambda_handler(app)
