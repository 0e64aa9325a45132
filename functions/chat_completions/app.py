"""Chat completions."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.chat import endpoint

app = create_app(secrets=SecretUse.PROVIDERS, asks_models=True)


@app.post("/v1/chat/completions")
@app.post("/api/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """The answer of the best model that can give it."""
    return await endpoint.create_completion(request)


handler = lambda_handler(app)
