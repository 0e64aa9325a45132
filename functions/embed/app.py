"""Embeddings in the shape of v1."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.embeddings import endpoint

app = create_app(secrets=SecretUse.ALL, uses_vectors=True, asks_models=True)


@app.post("/embed")
@app.post("/embeddings")
@app.post("/api/v1/embed")
async def embed(request: Request) -> Response:
    """One text, one vector."""
    return await endpoint.embed_legacy(request)


handler = lambda_handler(app)
