"""Embeddings in OpenAI's shape, kept in Chroma on the way."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.embeddings import endpoint

app = create_app(secrets=SecretUse.ALL, uses_vectors=True, asks_models=True)


@app.post("/v1/embeddings")
async def create_embeddings(request: Request) -> Response:
    """A vector for each input."""
    return await endpoint.create_embeddings(request)


handler = lambda_handler(app)
