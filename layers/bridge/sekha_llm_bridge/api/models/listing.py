"""Lists of the configured models and tasks, in the bridge's own format and in OpenAI's."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.execution.attempts import usd
from sekha_llm_bridge.routing import CatalogModel
from sekha_llm_bridge.routing.catalog import model_not_found

_CREATED = 0  # OpenAI's schema requires a date, which a configuration does not have


def bare_list(request: Request) -> Response:
    """`GET /api/v1/models`: an array with one entry for each model of each provider."""
    return json_response([_model(entry) for entry in bridge_of(request).catalog.models])


def openai_list(request: Request) -> Response:
    """`GET /v1/models`: OpenAI's list, each model_id once."""
    bridge = bridge_of(request)
    rows = [_openai_model(bridge.catalog.named(model_id)) for model_id in bridge.catalog.model_ids()]
    return json_response({"object": "list", "data": rows})


def openai_model(request: Request, model_id: str) -> Response:
    """`GET /v1/models/{id}`. Raises `ModelNotFound`."""
    bridge = bridge_of(request)
    found = bridge.catalog.named(model_id)
    if not found:
        raise model_not_found(model_id, bridge.catalog.model_ids())
    return json_response(_openai_model(found))


def tasks(request: Request) -> Response:
    """`GET /api/v1/tasks`: every task that has a configured model, with its default model and its models."""
    catalog = bridge_of(request).catalog
    models_by_task = [(task, [entry for entry in catalog.models if entry.model.serves(task)]) for task in Task]
    return json_response(
        [
            {
                "task": task.value,
                "default_model": catalog.default_for(task),
                "models": list(catalog.model_ids(entries)),
            }
            for task, entries in models_by_task
            if entries
        ]
    )


def _model(entry: CatalogModel) -> dict[str, Any]:
    model, price = entry.model, entry.price
    return {
        "model_id": model.model_id,
        "provider_id": entry.provider.id,
        "provider_type": entry.provider.provider_type.value,
        "task": model.all_tasks[0].value,
        "tasks": [task.value for task in model.all_tasks],
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "dimension": model.dimension,
        "embedding_space": model.space if model.dimension else None,
        "supports_vision": model.has_vision,
        "supports_audio": model.supports_audio,
        "supports_function_calling": model.supports_function_calling,
        "input_usd_per_mtok": usd(price.rates.input_usd_per_mtok) if price else None,
        "output_usd_per_mtok": usd(price.rates.output_usd_per_mtok) if price else None,
    }


def _openai_model(entries: Sequence[CatalogModel]) -> dict[str, Any]:
    owners = list(dict.fromkeys(entry.provider.id for entry in entries))
    return {
        "id": entries[0].model.model_id,
        "object": "model",
        "created": _CREATED,
        "owned_by": owners[0],
        "providers": owners,
    }
