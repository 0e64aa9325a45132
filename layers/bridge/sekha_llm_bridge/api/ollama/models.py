"""The lists and descriptions of models: `/api/tags`, `/api/show`, `/api/ps` and `/api/version`.

They have every name that a request's `model` may have: `auto`, the keys of `default_models`, the aliases, and the
models, whichever provider has them. What neither the configuration nor the provider says is empty, as in Ollama.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from sekha_llm_bridge.api.app import json_response
from sekha_llm_bridge.api.ollama.names import configured_name, name_with_tag
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import bridge_of, state_of
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.routing import Catalog, CatalogModel
from sekha_llm_bridge.routing.names import AUTO, own_names, resolve_model

if TYPE_CHECKING:
    from sekha_llm_bridge.found_models import FoundModel

OLLAMA_VERSION = "0.32.15"
"""The version of Ollama whose API this is. Clients compare it with the lowest that they need, as three numbers."""

_NO_DATE = "1970-01-01T00:00:00.000000Z"  # clients require a date, some with a fraction; a configuration has none
_OWN_NAMES_FAMILY = "sekha-llm-bridge"
_PARAMETERS = r"(?i)(?<![a-z0-9.])(\d+(?:\.\d+)?[bm])(?![a-z0-9])"
_QUANTIZATION = r"(?i)(?<![a-z0-9])(i?q\d(?:_[a-z0-9]+)*|[bf]p?16|f(?:p)?32|fp8|mxfp4)(?![a-z0-9])"


class ShowRequest(BaseModel):
    """`POST /api/show`. `name` is the former name of `model`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = None
    name: str | None = None


async def tags(request: Request) -> Response:
    """`GET /api/tags`: the names that a request's `model` may have; the bridge's own names come first."""
    rows = {name_with_tag(name): entries for name, entries in _names(bridge_of(request).catalog).items()}
    return json_response({"models": [_row(name, entries) for name, entries in rows.items()]})


async def show(request: Request) -> Response:
    """`POST /api/show`: one of these names. Raises `ModelNotFound`."""
    parsed = validated(ShowRequest, await json_object(request))
    catalog = bridge_of(request).catalog
    name = configured_name(parsed.model or parsed.name, catalog)
    if name is None:
        raise InvalidRequest("model is required", param="model")
    state_of(request).requested_model = name
    entries = _entries(name, catalog)
    details = _details(name, entries)
    family, embedding_length = details["family"], details.get("embedding_length")
    lengths = {"context_length": details["context_length"], "embedding_length": embedding_length}
    body = {
        "license": "",  # a client for Swift needs one (kevinhermawan/OllamaKit)
        "modelfile": f"FROM {name_with_tag(name)}\n",
        "parameters": "",
        "template": "",
        "details": details,
        "model_info": {
            "general.architecture": family,
            "general.basename": name,
            **{f"{family}.{field}": value for field, value in lengths.items() if value is not None},
        },
        "capabilities": _capabilities(entries),
        "modified_at": _modified_at(entries),
    }
    return json_response(body)


async def running_models(request: Request) -> Response:
    """`GET /api/ps`: the bridge holds no model in memory."""
    bridge_of(request)  # a caller without a key gets the error
    return json_response({"models": []})


async def version(request: Request) -> Response:
    """`GET /api/version`: that of the API."""
    bridge_of(request)
    return json_response({"version": OLLAMA_VERSION})


def _names(catalog: Catalog) -> Mapping[str, Sequence[CatalogModel]]:
    own = {name: _chats(entries) for name, entries in own_names(catalog).items()}
    first = {name: own[name] for name in (AUTO,) if name in own}
    return {**first, **own, **{name: catalog.entries(name) for name in catalog.model_ids() if name not in own}}


def _entries(name: str, catalog: Catalog) -> Sequence[CatalogModel]:
    """Returns the models that a name stands for."""
    target = resolve_model(name, catalog)
    if not target.models:
        return _chats(catalog.models if target.task is None else catalog.serving(target.task))
    return [entry for ref in target.models for entry in filter(ref.matches, catalog.entries(ref.model_id))]


def _chats(entries: Sequence[CatalogModel]) -> Sequence[CatalogModel]:
    """Returns the chat models; all where there are none. Clients take a name with embeddings for no chat model."""
    return [entry for entry in entries if entry.model.is_chat] or entries


def _row(name: str, entries: Sequence[CatalogModel]) -> dict[str, Any]:
    found = _found(entries)
    return {
        "name": name,
        "model": name,
        "modified_at": _modified_at(entries),
        "size": found.size_bytes if found else 0,
        # Clients show twelve letters of it, or use it as a key.
        "digest": (found.digest if found else "") or hashlib.sha256(name.encode()).hexdigest(),
        "details": _details(name, entries),
        "capabilities": _capabilities(entries),
    }


def _found(entries: Sequence[CatalogModel]) -> "FoundModel | None":
    """Returns what an Ollama says of a model, where it is the only one of that name."""
    return entries[0].found if len(entries) == 1 else None


def _modified_at(entries: Sequence[CatalogModel]) -> str:
    found = _found(entries)
    return (found.modified_at if found else "") or _NO_DATE


def _details(name: str, entries: Sequence[CatalogModel]) -> dict[str, Any]:
    found = _found(entries)
    family = (found.family if found else "") or _family(entries)
    details = {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": found.parameter_size if found else _in_name(_PARAMETERS, name),
        "quantization_level": found.quantization if found else _in_name(_QUANTIZATION, name),
        "context_length": max((entry.window for entry in entries), default=0),  # the one that a prompt may use
    }
    dimensions = {entry.model.dimension for entry in entries}
    if len(dimensions) == 1 and (dimension := dimensions.pop()) is not None:
        details["embedding_length"] = dimension
    return details


def _in_name(pattern: str, name: str) -> str:
    """Returns what a name says, such as `llama3.1:8b-instruct-q4_K_M`, as Ollama writes it."""
    found = re.search(pattern, name)
    return found[1].upper() if found else ""


def _family(entries: Sequence[CatalogModel]) -> str:
    """Returns the type of the provider, where it is the same for all: the architecture of a model is not known."""
    types = {entry.provider.provider_type.value for entry in entries}
    return types.pop() if len(types) == 1 else _OWN_NAMES_FAMILY


def _capabilities(entries: Sequence[CatalogModel]) -> list[str]:
    """Returns what at least one of the models can do, by Ollama's names. Tools are sent where it is not known whether a
    model can use them. `insert` needs a field that the bridge refuses.
    """
    chats = [entry.model for entry in entries if entry.model.is_chat]
    can = {
        "completion": bool(chats),
        "tools": any(model.supports_function_calling is not False for model in chats),
        "vision": any(model.has_vision for model in chats),
        "audio": any(model.supports_audio for model in chats),
        "thinking": any("thinking" in entry.found.capabilities for entry in entries if entry.found),
        "embedding": any(entry.model.dimension is not None for entry in entries),
    }
    return [name for name, is_so in can.items() if is_so]
