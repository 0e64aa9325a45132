"""Anthropic's Messages API."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.messages import endpoint
from sekha_llm_bridge.api.messages.errors import REQUEST_ID_HEADERS, anthropic_error_body

app = create_app(
    secrets=SecretUse.PROVIDERS,
    asks_models=True,
    error_body=anthropic_error_body,
    request_id_headers=REQUEST_ID_HEADERS,
)


@app.post("/v1/messages")
async def messages(request: Request) -> Response:
    """The answer of the best model that can give it."""
    return await endpoint.create_message(request)


@app.post("/v1/messages/count_tokens")
async def count_tokens(request: Request) -> Response:
    """The number of the prompt's tokens."""
    return await endpoint.count_tokens(request)


handler = lambda_handler(app)
