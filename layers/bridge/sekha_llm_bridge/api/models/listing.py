"""Lists of the configured models and tasks, in the bridge's own format, and in one that the clients of OpenAI and of
Anthropic read.

Source: platform.claude.com, API reference, "List Models".
"""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.request_state import bridge_of
from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.execution.attempts import usd
from sekha_llm_bridge.routing import CatalogModel
from sekha_llm_bridge.routing.names import model_not_found, model_ref, own_names, without_default_tag

# OpenAI's and Anthropic's schemas require a date, which a configuration does not have.
_CREATED, _CREATED_AT = 0, "1970-01-01T00:00:00Z"
_OWNER_OF_OWN_NAMES = "sekha-llm-bridge"


def bare_list(request: Request) -> Response:
    """`GET /api/v1/models`: an array with one entry for each model of each provider."""
    return json_response([model_row(entry) for entry in bridge_of(request).catalog.models])


def openai_list(request: Request) -> Response:
    """`GET /v1/models`: each model_id once, then aliases and the bridge's own names such as `auto`. It is one page."""
    catalog = bridge_of(request).catalog
    names = own_names(catalog)
    rows = [_openai_model(catalog.entries(model_id)) for model_id in catalog.model_ids() if model_id not in names]
    rows += [_own_name(*row) for row in names.items()]
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return json_response({"object": "list", "data": rows, "has_more": False, **ends})


def openai_model(request: Request, model_id: str) -> Response:
    """`GET /v1/models/{id}`, for every name that a request may have as its `model`. Raises `ModelNotFound`."""
    catalog = bridge_of(request).catalog
    names = own_names(catalog)
    if (own := without_default_tag(model_id, catalog)) in names:
        return json_response({**_own_name(own, names[own]), "id": model_id})
    ref = model_ref(model_id, catalog)
    if ref is None:
        raise model_not_found(model_id, catalog)
    entries = list(filter(ref.matches, catalog.entries(ref.model_id)))
    return json_response({**_openai_model(entries), "id": model_id})


def tasks(request: Request) -> Response:
    """`GET /api/v1/tasks`: every task that has a configured model, with its default model and its models."""
    catalog = bridge_of(request).catalog
    models_by_task = [(task, catalog.serving(task)) for task in Task]
    return json_response(
        [
            {
                "task": task.value,
                "default_model": catalog.present_default_for(task),
                "models": list(catalog.model_ids(entries)),
            }
            for task, entries in models_by_task
            if entries
        ]
    )


def model_row(entry: CatalogModel) -> dict[str, Any]:
    """Returns one model of one provider, as `GET /api/v1/models` lists it."""
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
    owners = _provider_ids(entries)
    return _openai_row(entries[0].model.model_id, owners[0], owners)


def _own_name(name: str, entries: Sequence[CatalogModel]) -> dict[str, Any]:
    return _openai_row(name, _OWNER_OF_OWN_NAMES, _provider_ids(entries))


def _openai_row(name: str, owner: str, provider_ids: Sequence[str]) -> dict[str, Any]:
    openais = {"id": name, "object": "model", "created": _CREATED, "owned_by": owner, "providers": provider_ids}
    anthropics = {"type": "model", "display_name": name, "created_at": _CREATED_AT, "lifecycle": "active"}
    return {**openais, **anthropics}


def _provider_ids(entries: Sequence[CatalogModel]) -> list[str]:
    return list(dict.fromkeys(entry.provider.id for entry in entries))
