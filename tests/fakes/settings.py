"""Builds settings without a file."""

from pathlib import Path
from typing import Any

from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.config.models import ConfigFile


def make_settings(*providers: dict[str, Any], **sections: Any) -> Settings:
    """Returns settings with the given providers and sections, which have the keys of the file."""
    parsed = ConfigFile.model_validate({"providers": list(providers), **sections})
    return Settings(
        path=Path("test.yaml"),
        providers=parsed.providers,
        disabled=(),
        default_models=parsed.default_models,
        aliases=parsed.aliases,
        routing=parsed.routing,
        chroma=parsed.chroma,
        health=parsed.health,
        warnings=(),
    )


def provider(provider_id: str, *models: dict[str, Any], provider_type: str = "openai", **fields: Any) -> dict[str, Any]:
    """Returns one provider section of the file."""
    return {"id": provider_id, "provider_type": provider_type, "models": list(models), **fields}


def chat_model(model_id: str = "m", *, price: tuple[float, float] | None = (1, 2), **fields: Any) -> dict[str, Any]:
    """Returns a chat model section. `price` is (input, output) in USD per million tokens; None: not known."""
    pricing = {} if price is None else {"pricing": {"input_usd_per_mtok": price[0], "output_usd_per_mtok": price[1]}}
    return {"model_id": model_id, "task": "chat_small", "context_window": 8192, **pricing, **fields}


def embedding_model(model_id: str = "e", **fields: Any) -> dict[str, Any]:
    """Returns an embedding model section."""
    return {
        "model_id": model_id,
        "task": "embedding",
        "context_window": 512,
        "dimension": 8,
        "pricing": {"input_usd_per_mtok": 0.1},
        **fields,
    }
