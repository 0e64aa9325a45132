"""What is usable of an answer in OpenAI's shape: strict where a caller's parser is, lenient where vendors differ."""

import secrets
from typing import Any

import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.base import ChatAnswer
from sekha_llm_bridge.usage import Usage

_MAX_SAFE_INTEGER = 2**53  # what every JSON reader can hold
# OpenRouter's, vLLM's and DeepSeek's ways to say that an answer has no end.
_ERROR_FINISH_REASONS = ("error", "abort", "insufficient_system_resource")


def chat_answer(body: dict[str, Any], usage: Usage | None, clock: Clock) -> ChatAnswer:
    """The answer with every choice made regular. Raises `ProviderError` (MALFORMED_ANSWER) when there is nothing to
    use, and TypeError
    when it is nested deeper than can be passed on.
    """
    orjson.dumps(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ProviderError(FailureKind.MALFORMED_ANSWER, "the provider's answer has no choices", provider_status=200)
    regular = {
        "id": body["id"] if isinstance(body.get("id"), str) and body["id"] else f"chatcmpl-{secrets.token_hex(12)}",
        "created": body["created"] if is_count(body.get("created")) else int(clock.now().timestamp()),
        "choices": [_choice(position, choice) for position, choice in enumerate(choices)],
    }
    return ChatAnswer({**body, **regular}, usage)


def _choice(position: int, choice: object) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer has a choice without a message", provider_status=200
        )
    finish = choice.get("finish_reason")
    reject_error_finish(choice)
    return {
        **choice,
        "index": choice["index"] if is_count(choice.get("index")) else position,
        "message": {
            **message,
            "role": "assistant",
            **normalise_content(message.get("content")),
            **_tool_calls(message),
        },
        "finish_reason": finish if isinstance(finish, str) and finish else None,
    }


def reject_error_finish(choice: dict[str, Any]) -> None:
    """Raises `ProviderError` (MALFORMED_ANSWER) for a choice that its provider says it broke off."""
    if choice.get("finish_reason") in _ERROR_FINISH_REASONS or choice.get("error"):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider broke off in the middle of its answer", provider_status=200
        )


def normalise_content(content: object) -> dict[str, str | None]:
    """`content` as text, and `reasoning_content` where parts of it are the model's thinking: some vendors send it in
    parts.
    """
    if content is None or isinstance(content, str):
        return {"content": content}
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer has content that is no text", provider_status=200
        )
    thoughts = [
        normalise_content(part.get("thinking"))["content"] or "" for part in content if part.get("type") == "thinking"
    ]
    text = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return {"content": text, "reasoning_content": "".join(thoughts)} if thoughts else {"content": text}


def _tool_calls(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return {}
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer has tool calls that are none", provider_status=200
        )
    return {"tool_calls": calls}


def read_chat_usage(usage: object) -> Usage | None:
    """`read_usage` of a chat, whose prompt has tokens and whose answer is counted; else nothing in it is believed."""
    found = read_usage(usage)
    is_whole = isinstance(usage, dict) and usage.get("completion_tokens") is not None
    return found if found is not None and found.prompt_tokens and is_whole else None


def read_usage(usage: object) -> Usage | None:
    """OpenAI's `usage` object, or None where there is none to trust."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens") or 0)
    if prompt is None or completion is None:
        return None
    total = count(usage.get("total_tokens")) or 0
    return Usage(
        prompt,
        completion,
        cached_tokens=_detail(usage, "cached_tokens"),
        cache_write_tokens=_detail(usage, "cache_write_tokens"),
        unlisted_tokens=max(0, total - prompt - completion),
    )


def _detail(usage: dict[str, Any], name: str) -> int:
    details = usage.get("prompt_tokens_details")
    return (count(details.get(name)) if isinstance(details, dict) else None) or 0


def count(value: object) -> int | None:
    """A number of tokens, as vendors write them: `7`, `7.0`, `"7"`; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_count(value) and isinstance(value, int) else None


def is_count(value: object) -> bool:
    """Whether it is a number of something, in a range that every JSON reader can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SAFE_INTEGER
