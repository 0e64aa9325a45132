"""Rules of requests that their models check in validators, which pydantic does not include in the schemas."""

from collections.abc import Iterable
from typing import Any

from sekha_llm_bridge.api.conversations.routing import ANSWERING_TASKS
from sekha_llm_bridge.config.vocabulary import Task
from sekha_llm_bridge.routing.catalog import DEFAULT_NAMES

_NOT_NULL = {"not": {"type": "null"}}
_CHATS = (
    *("ChatRequest", "MessagesRequest", "TokensRequest", "ResponsesRequest"),
    *("OllamaChatRequest", "OllamaGenerateRequest"),
)


def add_rules(schemas: dict[str, Any]) -> None:
    """Adds the rules to the schemas of requests."""
    for models, name, tasks in ((_CHATS, "ChatTaskName", ANSWERING_TASKS), (("ExplainRequest",), "TaskName", Task)):
        schemas[name] = {
            "description": "A task, or the name of a default model that stands for one.",
            "type": "string",
            "enum": _task_names(tasks),
        }
        for model in models:
            schemas[model]["properties"]["task"]["anyOf"] = [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]
    schemas["ChatMessage"] |= _unless("role", "assistant", needs="content")
    schemas["ContentPart"]["allOf"] = [_if("type", value, needs=value) for value in ("text", "image_url")]
    schemas["ResponseFormat"] |= _if("type", "json_schema", needs="json_schema")
    schemas["ExplainRequest"]["anyOf"] = [_required("task"), _required("messages")]


def _task_names(tasks: Iterable[Task]) -> list[str]:
    names = {name: task for name, task in DEFAULT_NAMES.items() if name not in list(Task)}
    allowed = set(tasks)
    return [*(task.value for task in Task if task in allowed), *(name for name, of in names.items() if of in allowed)]


def _if(name: str, value: str, *, needs: str) -> dict[str, Any]:
    return {"if": _has(name, value), "then": _required(needs)}


def _unless(name: str, value: str, *, needs: str) -> dict[str, Any]:
    return {"if": _has(name, value), "else": _required(needs)}


def _has(name: str, value: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"const": value}}}


def _required(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: _NOT_NULL}}
