"""Reads Anthropic's token counts.

Anthropic counts the tokens that it writes to its cache and reads from it beside `input_tokens`; here they are part of
the prompt. So are those of a compaction, for which it asks the model once more: they are only in `iterations`.

Sources: platform.claude.com, "Prompt caching", "Tracking cache performance"; "Compaction", "Understanding usage"; "Web
search tool", "Usage and pricing".
"""

from dataclasses import astuple, replace

from sekha_llm_bridge.conversation import Json
from sekha_llm_bridge.providers.token_counts import read_count, usage_in_openais_spelling
from sekha_llm_bridge.usage import Usage


def read_usage(usage: object, *, is_hour_cache: bool = False) -> Usage | None:
    """Returns the counts of a `usage` object; None unless it has a prompt and an answer.

    `is_hour_cache`: the request asks for an hour in the cache, so what is written lasts that long, unless the server
    says otherwise, as Anthropic does.
    """
    if not isinstance(usage, dict):
        return None
    requests = [usage, *_compactions(usage)]
    counted = [counts for one in requests if (counts := _counts(one, is_hour_cache=is_hour_cache)) is not None]
    if not counted:
        return None
    total = counted[0]
    if len(counted) > 1:
        total = Usage(*map(sum, zip(*map(astuple, counted), strict=True)))
        total = replace(total, largest_prompt_tokens=max(counts.prompt_tokens for counts in counted))
    searches = usage.get("server_tool_use")
    n_searches = _count(searches, "web_search_requests") if isinstance(searches, dict) else 0
    return replace(total, web_searches=n_searches) if n_searches else total


def _compactions(usage: Json) -> list[Json]:
    iterations = usage.get("iterations")
    if not isinstance(iterations, list):
        return []
    return [one for one in iterations if isinstance(one, dict) and one.get("type") == "compaction"]


def _counts(usage: Json, *, is_hour_cache: bool) -> Usage | None:
    """Returns the counts of one request to the model; None unless it has a prompt and an answer."""
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    prompt_tokens = _count(usage, "input_tokens") + read + written
    completion_tokens = read_count(usage.get("output_tokens"))
    if not prompt_tokens or completion_tokens is None:
        return None
    by_ttl = usage.get("cache_creation")
    return Usage(
        prompt_tokens,
        completion_tokens,
        cached_tokens=read,
        cache_write_tokens=written,
        hour_cache_write_tokens=_count(by_ttl, "ephemeral_1h_input_tokens")
        if isinstance(by_ttl, dict)
        else written * is_hour_cache,
    )


def provider_usage(usage: object) -> Json | None:
    """Returns the counts in OpenAI's spelling; None where there are none."""
    if not isinstance(usage, dict) or (counts := read_usage(usage)) is None:
        return None
    details = usage.get("output_tokens_details")
    return usage_in_openais_spelling(
        counts, read_count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    )


def merged_usage(before: Json, update: object) -> Json:
    """Returns the counts after an event of a stream: they are cumulative, and an event may lack some of them."""
    known = update if isinstance(update, dict) else {}
    return {**before, **{name: value for name, value in known.items() if value is not None}}


def _count(usage: Json, name: str) -> int:
    return read_count(usage.get(name)) or 0
