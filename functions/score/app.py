"""Scores of importance, in the format of v1."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.memory import endpoint

app = create_app(secrets=SecretUse.PROVIDERS, asks_models=True)


@app.post("/score")
@app.post("/score_importance")
@app.post("/api/v1/score")
async def score(request: Request) -> Response:
    """How important a text is, from 1 to 10."""
    return await endpoint.score(request)


handler = lambda_handler(app)
