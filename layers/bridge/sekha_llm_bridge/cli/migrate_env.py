"""`sekha-bridge migrate-env`: the YAML that replaces a v1 `.env`."""

import json
import sys
from pathlib import Path

from dotenv import dotenv_values

# The dimensions of the embedding models in Ollama's library, by name without the tag.
_DIMENSIONS = {
    "all-minilm": 384,
    "bge-large": 1024,
    "bge-m3": 1024,
    "embeddinggemma": 768,
    "granite-embedding": 384,
    "mxbai-embed-large": 1024,
    "nomic-embed-text": 768,
    "paraphrase-multilingual": 768,
    "snowflake-arctic-embed": 1024,
    "snowflake-arctic-embed2": 1024,
}
_DEFAULT_DIMENSION = 768
# The defaults of v1.
_DEFAULTS = {
    "OLLAMA_BASE_URL": "http://localhost:11434",
    "EMBEDDING_MODEL": "nomic-embed-text",
    "CHAT_MODEL": "llama3.1:8b",
}


def run(file: Path) -> int:
    """Prints the YAML, and on standard error what must be checked by hand. Returns 0, or 2 when `file` is no v1
    file."""
    values = dotenv_values(file, interpolate=False) if file.is_file() else {}
    found = {name: value for name in _DEFAULTS if (value := values.get(name))}
    if not found:
        what = "has none of " + ", ".join(_DEFAULTS) if file.is_file() else "no such file"
        sys.stderr.write(f"{file}: {what}: give the path of the .env that v1 used\n")
        return 2
    settings = {**_DEFAULTS, **found}
    sys.stdout.write(yaml_of(settings["OLLAMA_BASE_URL"], settings["EMBEDDING_MODEL"], settings["CHAT_MODEL"]))
    if _dimension(settings["EMBEDDING_MODEL"]) is None:
        sys.stderr.write(
            f"check `dimension`: the length of the vectors of {settings['EMBEDDING_MODEL']} is unknown, "
            f"{_DEFAULT_DIMENSION} is only the most common one\n"
        )
    return 0


def yaml_of(base_url: str, embedding_model: str, chat_model: str) -> str:
    """Returns the text of the file: one Ollama provider for all tasks, as in v1."""
    return f"""\
version: "2.0"
providers:
  - id: ollama_local
    provider_type: ollama
    base_url: {_quoted(base_url)}
    priority: 1
    models:
      - model_id: {_quoted(embedding_model)}
        task: embedding
        context_window: 8192
        dimension: {_dimension(embedding_model) or _DEFAULT_DIMENSION}
      - model_id: {_quoted(chat_model)}
        tasks: [chat_small, chat_smart]
        context_window: 8192

default_models:
  embedding: {_quoted(embedding_model)}
  chat_fast: {_quoted(chat_model)}
  chat_smart: {_quoted(chat_model)}

chroma:
  url: ${{CHROMA_URL:-}}
"""


def _dimension(model: str) -> int | None:
    """Returns the length of the model's vectors, or None for an unknown model."""
    return _DIMENSIONS.get(model.partition(":")[0].rpartition("/")[2])


def _quoted(text: str) -> str:
    """Returns `text` as a YAML string. A JSON string is valid YAML; `${` is escaped, so that it is not a reference."""
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)
