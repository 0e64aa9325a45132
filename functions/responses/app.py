"""OpenAI's Responses API."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.responses import endpoint
from sekha_llm_bridge.api.responses.errors import responses_error_body

app = create_app(secrets=SecretUse.PROVIDERS, asks_models=True, error_body=responses_error_body)


@app.post("/v1/responses")
async def responses(request: Request) -> Response:
    """The answer of the best model that can give it."""
    return await endpoint.create_response(request)


handler = lambda_handler(app)
