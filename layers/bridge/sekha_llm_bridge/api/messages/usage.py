"""Writes token counts in Anthropic's form, which counts cached tokens beside `input_tokens`, not in it."""

from typing import Any

from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.usage import Usage

_PROMPT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def usage_body(usage: Usage | None, *, is_estimated: bool) -> dict[str, Any]:
    """Returns the `usage` of an answer; an estimate is marked."""
    counts = usage or Usage(0)
    cached = counts.cached_tokens + counts.cache_write_tokens
    hour = counts.hour_cache_write_tokens
    body: dict[str, Any] = {
        "input_tokens": max(0, counts.prompt_tokens - cached),
        "cache_creation_input_tokens": counts.cache_write_tokens,
        "cache_read_input_tokens": counts.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(0, counts.cache_write_tokens - hour),
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": counts.completion_tokens,
    }
    return {**body, "estimated": True} if is_estimated else body


def usage_of_original(sent: object, usage: Usage | None, *, is_estimated: bool) -> Json:
    """Returns Anthropic's own `usage`, where the bridge could read it and it has the count that clients require."""
    if isinstance(sent, dict) and "output_tokens" in sent and not is_estimated:
        return sent
    return usage_body(usage, is_estimated=is_estimated)


def first_usage(sent: object, prompt_tokens: int) -> Json:
    """Returns the `usage` of the first event of a stream: Anthropic's own, where it counts the prompt; else with the
    estimate, because agents read there how full the window is.
    """
    counts = sent if isinstance(sent, dict) else {}
    if any(counts.get(name) for name in _PROMPT_COUNTS):
        return counts
    return {**usage_body(Usage(prompt_tokens), is_estimated=False), "output_tokens": counts.get("output_tokens") or 0}
