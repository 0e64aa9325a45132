"""Reads the token counts of a provider's answer, in the spellings that vendors use."""

from typing import Any

from sekha_llm_bridge.usage import Usage

_MAX_SAFE_INTEGER = 2**53  # every JSON reader can hold it


def read_chat_usage(usage: object) -> Usage | None:
    """Returns the `usage` of a chat answer, or None unless it has prompt tokens and a number of completion tokens.

    Some vendors send a `usage` of zeros, or one without completion tokens; billing by it would be wrong.
    """
    found = read_usage(usage)
    is_complete = isinstance(usage, dict) and usage.get("completion_tokens") is not None
    return found if found is not None and found.prompt_tokens and is_complete else None


def read_usage(usage: object) -> Usage | None:
    """Returns the counts of OpenAI's `usage` object; None where it is missing or its counts are not usable."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = read_count(usage.get("prompt_tokens")), read_count(usage.get("completion_tokens") or 0)
    if prompt is None or completion is None:
        return None
    total = read_count(usage.get("total_tokens")) or 0
    return Usage(
        prompt,
        completion,
        cached_tokens=_prompt_detail(usage, "cached_tokens"),
        cache_write_tokens=_prompt_detail(usage, "cache_write_tokens"),
        unlisted_tokens=max(0, total - prompt - completion),
    )


def _prompt_detail(usage: dict[str, Any], name: str) -> int:
    details = usage.get("prompt_tokens_details")
    return (read_count(details.get(name)) if isinstance(details, dict) else None) or 0


def usage_in_openais_spelling(usage: Usage, reasoning_tokens: int | None = None) -> dict[str, Any]:
    """Returns the counts of another format as OpenAI's `usage` object."""
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
    }
    if reasoning_tokens is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return body


def read_count(value: object) -> int | None:
    """Returns a number of tokens, which vendors write as `7`, `7.0` or `"7"`; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_count(value) and isinstance(value, int) else None


def is_count(value: object) -> bool:
    """Returns whether the value is an integer from 0 to 2**53."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SAFE_INTEGER


def regular_usage(usage: object) -> Any:
    """Returns a provider's `usage` with numbers where it has them as text, or as decimals such as `7.0`."""
    if not isinstance(usage, dict):
        return usage
    return {name: value if type(value) is int else _regular(value) for name, value in usage.items()}


def _regular(value: object) -> object:
    if isinstance(value, dict):
        return regular_usage(value)
    count = read_count(value) if isinstance(value, str | float) else None
    return value if count is None else count
