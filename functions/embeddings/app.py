"""Embeddings in OpenAI's shape, kept in Chroma on the way."""

from fastapi import Request, Response

from sekha_llm_bridge.api import create_app, embeddings, lambda_handler

app = create_app(keeps_vectors=True)


@app.post("/v1/embeddings")
async def create_embeddings(request: Request) -> Response:
    """A vector for each input."""
    return await embeddings.create(request)


handler = lambda_handler(app)
