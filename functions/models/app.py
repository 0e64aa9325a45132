"""What is configured."""

from fastapi import Request, Response

from sekha_llm_bridge.api import create_app, lambda_handler
from sekha_llm_bridge.api.models import listing

app = create_app()


@app.get("/api/v1/models")
async def list_models(request: Request) -> Response:
    """Every model of every provider, as a bare array."""
    return listing.bare_list(request)


@app.get("/v1/models")
async def list_openai_models(request: Request) -> Response:
    """OpenAI's list."""
    return listing.openai_list(request)


@app.get("/v1/models/{model_id:path}")
async def retrieve_model(request: Request, model_id: str) -> Response:
    """One model, in OpenAI's shape."""
    return listing.openai_model(request, model_id)


@app.get("/api/v1/tasks")
async def list_tasks(request: Request) -> Response:
    """The tasks that something is configured for."""
    return listing.tasks(request)


handler = lambda_handler(app)
