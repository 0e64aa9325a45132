"""What runs here, as JSON: health, models, names and paths. No address or key of a provider is part of it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge import __version__
from sekha_llm_bridge.api.health.endpoint import health_report
from sekha_llm_bridge.api.models.listing import model_row
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.config.models import CHAT_TASKS, Task
from sekha_llm_bridge.routing.names import own_names

NAME = "Sekha LLM Bridge"
DESCRIPTION = (
    "One OpenAI-compatible API over many language-model providers. Each request goes to the configured model that fits "
    "best, and to the next one when a provider fails."
)
DESCRIPTION_FILE = Path(__file__).with_name("openapi.json")


class PathRow(NamedTuple):
    """One operation of the API."""

    method: str
    path: str
    summary: str


async def overview(bridge: Bridge, url: str) -> dict[str, Any]:
    """Returns what runs here. `url` is the address under which the client reached the API. It calls no provider."""
    report = await health_report(bridge)
    types = {config.id: config.provider_type.value for config in bridge.settings.providers}
    rows: Mapping[str, Mapping[str, Any]] = report["providers"]
    return {
        "name": NAME,
        "description": DESCRIPTION,
        "version": __version__,
        "status": report["status"],
        "notes": report.get("notes", []),
        "base_url": f"{url}/v1",
        "openapi_url": f"{url}/openapi.json",
        "health_url": f"{url}/api/v1/health",
        "providers": {name: {"provider_type": types[name], **row} for name, row in rows.items() if name in types},
        "disabled_providers": {disabled.config.id: disabled.reason for disabled in bridge.settings.disabled},
        "models": [model_row(entry) for entry in bridge.catalog.models],
        "names": list(own_names(bridge.catalog)),
        "paths": [row._asdict() for row in path_rows()],
        "example": example(bridge, url),
    }


def example(bridge: Bridge, url: str) -> str:
    """Returns a curl command to try: a chat, or an embedding where no model is for chats."""
    tasks = {task for entry in bridge.catalog.models for task in entry.model.all_tasks}
    if not CHAT_TASKS & tasks and Task.EMBEDDING in tasks:
        return _curl(f"{url}/v1/embeddings", {"model": "embedding", "input": "Hello"})
    messages = [{"role": "user", "content": "Say hello."}]
    return _curl(f"{url}/v1/chat/completions", {"model": "auto", "messages": messages})


def _curl(url: str, body: Mapping[str, object]) -> str:
    lines = (f"curl {shlex.quote(url)}", "-H 'content-type: application/json'", f"-d '{json.dumps(body)}'")
    return " \\\n  ".join(lines)


@cache
def path_rows() -> Sequence[PathRow]:
    """Returns the operations of the API, from its description."""
    paths: Mapping[str, Mapping[str, Mapping[str, str]]] = orjson.loads(DESCRIPTION_FILE.read_bytes())["paths"]
    return [
        PathRow(method.upper(), path, operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
