"""The numbers of tokens by which a provider bills."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens, as the provider counted them.

    `cached_tokens` and `cache_write_tokens` are parts of `prompt_tokens`: read from the provider's cache, and written
    to
    it. `unlisted_tokens` are output that only the total includes: some providers bill a model's reasoning like that.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    unlisted_tokens: int = 0
