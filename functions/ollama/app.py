"""Ollama's API."""

from sekha_llm_bridge.api import SecretUse, create_app, lambda_handler
from sekha_llm_bridge.api.ollama import embeddings, endpoint, models
from sekha_llm_bridge.api.ollama.errors import ollama_error_body

app = create_app(secrets=SecretUse.ALL, uses_vectors=True, asks_models=True, error_body=ollama_error_body)

app.post("/api/chat")(endpoint.chat)
app.post("/api/generate")(endpoint.generate)
app.post("/api/embed")(embeddings.embed)
app.post("/api/embeddings")(embeddings.legacy_embed)
app.post("/api/show")(models.show)
app.get("/api/tags")(models.tags)
app.get("/api/ps")(models.running_models)
app.get("/api/version")(models.version)

handler = lambda_handler(app)
