"""Tokens that a provider counted, which is what it bills."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them.

    `cached_tokens` and `cache_write_tokens` are parts of `prompt_tokens`: what the provider read from its cache, and
    what it wrote there. `unlisted_tokens` are output that only its total shows: some bill a model's thinking so.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    unlisted_tokens: int = 0
