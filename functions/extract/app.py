"""The entities of a text, in the format of v1."""

from fastapi import Request, Response

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.memory import endpoint

app = create_app(secrets=SecretUse.PROVIDERS, asks_models=True)


@app.post("/extract")
@app.post("/extract_entities")
@app.post("/api/v1/extract")
async def extract(request: Request) -> Response:
    """The people, organizations, technical terms and concepts of a text."""
    return await endpoint.extract(request)


handler = lambda_handler(app)
