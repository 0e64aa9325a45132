"""Search in what embeddings have stored."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.embeddings import search

app = create_app(secrets=SecretUse.ALL, uses_vectors=True, asks_models=True)


@app.post("/api/v1/search")
async def find(request: Request) -> Response:
    """The records nearest to a text."""
    return await search.search(request)


handler = lambda_handler(app)
