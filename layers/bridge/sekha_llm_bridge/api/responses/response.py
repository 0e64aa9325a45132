"""The Response object: OpenAI's format, complete for strict parsers, with the receipt.

What the request says is in it again, as OpenAI does; `store` is always false. Source: OpenAI's API reference, "The
response object"; the fields that Open Responses (openresponses.org) requires are all there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sekha_llm_bridge.api.responses.request import ResponsesRequest
from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.errors import InvalidRequest
from sekha_llm_bridge.providers.empty_objects import schema_with_objects
from sekha_llm_bridge.usage import Usage

_SUMMARIES = frozenset({"auto", "concise", "detailed"})


class ResponseFrame:
    """What is the same in every state of one response. `created_at` is in Unix seconds. Raises `InvalidRequest` for
    fields that are nested too deeply to be sent back.
    """

    def __init__(self, request: ResponsesRequest, sent: Json, response_id: str, created_at: int) -> None:
        self.response_id = response_id
        self._fields = {"id": response_id, "object": "response", "created_at": created_at, **_echo(request, sent)}

    def body(self, status: str, model_id: str, output: Sequence[Json], **fields: Any) -> dict[str, Any]:
        """Returns the response in that state, with further fields."""
        return {
            **self._fields,
            "status": status,
            "model": model_id,
            "output": output,
            "error": None,
            "incomplete_details": None,
            "usage": None,
            "completed_at": None,
            **fields,
        }


def _echo(request: ResponsesRequest, sent: Json) -> dict[str, Any]:
    """Returns the fields of the request that a response has, too; OpenAI's defaults where it does not say them."""
    text = {name: value for name, value in (sent.get("text") or {}).items() if value is not None}
    reasoning = {"effort": None, "summary": None, **(sent.get("reasoning") or {})}
    if reasoning["summary"] not in _SUMMARIES:
        reasoning["summary"] = None  # VS Code sends "off"
    nested = {
        "reasoning": reasoning,
        "text": {**text, "format": _format(text.get("format") or {"type": "text"})},
        "tool_choice": request.tool_choice or "auto",
        "tools": [_tool(tool) for tool in sent.get("tools") or ()],
    }
    return {
        "background": False,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "presence_penalty": request.presence_penalty or 0.0,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "safety_identifier": request.safety_identifier,
        "service_tier": request.service_tier or "default",
        "store": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "user": request.user,
        **{name: _encoded(value) for name, value in nested.items()},
    }


def _encoded(value: object) -> orjson.Fragment:
    """Returns a value, encoded once for all events. Raises `InvalidRequest` where it is nested too deeply."""
    try:
        return orjson.Fragment(orjson.dumps(value))
    except TypeError:
        raise InvalidRequest("the body is nested too deeply") from None


def _format(sent: Json) -> Json:
    """Returns the format of the text, with the fields that strict parsers require."""
    if sent["type"] != "json_schema":
        return sent
    return {"description": None, **sent, "strict": sent.get("strict") or False}


def _tool(sent: Json) -> Json:
    """Returns a tool of the request, with the fields that strict parsers require."""
    match sent["type"]:
        case "function":
            parameters = schema_with_objects(sent.get("parameters"))
            return {"description": None, "strict": False, **sent, "parameters": parameters}
        case "custom":
            return {"format": {"type": "text"}, **sent}
        case "namespace":
            return {"description": "", **sent}
        case _:
            return sent


def usage_body(usage: Usage | None, provider_usage: Mapping[str, Any] | None, *, is_estimated: bool) -> dict[str, Any]:
    """Returns the token counts of an answer. An estimate, where the provider counted none, is marked."""
    usage = usage or Usage(0)
    details = (provider_usage or {}).get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
    output_tokens = usage.completion_tokens + usage.unlisted_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": reasoning if isinstance(reasoning, int) else usage.unlisted_tokens
        },
        "total_tokens": usage.prompt_tokens + output_tokens,
        **({"estimated": True} if is_estimated else {}),
    }
