"""Reads the token counts of a provider's answer, in the spellings that vendors use."""

from collections.abc import Iterable
from typing import Any

from sekha_llm_bridge.usage import Usage

_MAX_SAFE_INTEGER = 2**53  # every JSON reader can hold it


def read_chat_usage(usage: object, *, is_hour_cache: bool = False) -> Usage | None:
    """Returns the `usage` of a chat answer, or None unless it has prompt tokens and a number of completion tokens.

    Some vendors send a `usage` of zeros, or one without completion tokens; billing by it would be wrong.
    """
    found = read_usage(usage, is_hour_cache=is_hour_cache)
    is_complete = isinstance(usage, dict) and usage.get("completion_tokens") is not None
    return found if found is not None and found.prompt_tokens and is_complete else None


def read_usage(usage: object, *, is_hour_cache: bool = False) -> Usage | None:
    """Returns the counts of OpenAI's `usage` object; None where it is missing or its counts are not usable.

    `is_hour_cache`: the request asks for an hour in the cache, so what is written lasts that long, unless the vendor
    says otherwise.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = read_count(usage.get("prompt_tokens")), read_count(usage.get("completion_tokens") or 0)
    if prompt is None or completion is None:
        return None
    total, details = read_count(usage.get("total_tokens")) or 0, usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    written = _first_count(details, _WRITTEN) or _first_count(usage, _WRITTEN)
    return Usage(
        prompt,
        completion,
        cached_tokens=_first_count(details, _READ) or _first_count(usage, _READ),
        cache_write_tokens=written,
        unlisted_tokens=max(0, total - prompt - completion),
        hour_cache_write_tokens=_written_for_an_hour(details, written if is_hour_cache else 0),
    )


# The names of tokens that were read from the cache: OpenAI's and those of most vendors, which is also Kimi's in the
# `usage` itself; DeepSeek's ("Create Chat Completion"); LiteLLM's ("Prompt Caching").
_READ = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
# Those that were written to it: OpenAI's and OpenRouter's; LiteLLM's; LiteLLM's and Alibaba's ("Explicit cache").
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
# The object with the written tokens by their time: LiteLLM's and Alibaba's.
_WRITTEN_BY_TIME = ("cache_creation_token_details", "cache_creation")


def _first_count(fields: dict[str, Any], names: Iterable[str]) -> int:
    return next((count for name in names if (count := read_count(fields.get(name)))), 0)


def _written_for_an_hour(details: dict[str, Any], otherwise: int) -> int:
    by_time = next((one for name in _WRITTEN_BY_TIME if isinstance(one := details.get(name), dict)), None)
    return otherwise if by_time is None else read_count(by_time.get("ephemeral_1h_input_tokens")) or 0


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


def regular_chat_usage(usage: object) -> Any:
    """Returns the `usage` of a chat as `regular_usage` does, with the tokens of the cache where OpenAI has them."""
    regular = regular_usage(usage)
    counts = read_usage(regular)
    if counts is None or not (counts.cached_tokens or counts.cache_write_tokens):
        return regular
    details = regular.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    found = {"cached_tokens": counts.cached_tokens, "cache_write_tokens": counts.cache_write_tokens}
    missing = {name: count for name, count in found.items() if count and not details.get(name)}
    return {**regular, "prompt_tokens_details": {**details, **missing}} if missing else regular


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
