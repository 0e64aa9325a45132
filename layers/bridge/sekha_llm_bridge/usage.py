"""The token counts that a provider reports and bills."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """The token counts of one answer, as the provider reported them.

    `prompt_tokens` includes `cached_tokens` (read from the provider's cache) and `cache_write_tokens` (written to it).
    `unlisted_tokens` are output tokens that the provider includes only in its total, for example reasoning tokens.
    They are billed but are not part of `completion_tokens`. `hour_cache_write_tokens` are those of
    `cache_write_tokens` that are kept for an hour. `web_searches` are those of Anthropic's own tool.
    `largest_prompt_tokens` is the longest prompt where the provider has asked its model several times, else 0: the
    price may depend on the length of each.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    unlisted_tokens: int = 0
    hour_cache_write_tokens: int = 0
    web_searches: int = 0
    largest_prompt_tokens: int = 0
