"""Which models take cache marks, for how long, and from how many tokens on they cache a prompt.

Sources: platform.claude.com, "Prompt caching", "Cache limitations"; Amazon Bedrock User Guide, "Prompt caching for
faster model inference", "Supported models, Regions, and explicit caching limits".
"""

from typing import NamedTuple

from sekha_llm_bridge.config.models import ProviderConfig, ProviderType
from sekha_llm_bridge.providers.openai.vendors import VENDORS, vendor_of


class CacheSupport(NamedTuple):
    """What one model takes.

    `takes_marks`: marks are sent to it; other models cache by themselves, or not at all. `takes_hours`: also those for
    an hour. `min_prefix_tokens` is the shortest beginning of a prompt that is worth a mark of the bridge's own: a
    shorter one is not cached; None: the bridge sets none.
    """

    takes_marks: bool = False
    takes_hours: bool = False
    min_prefix_tokens: int | None = None


_NAME = "claude-"  # names of other clouds have something before it
_UNKNOWN_CLAUDE = 4096
MIN_TOKENS = {
    "claude-": _UNKNOWN_CLAUDE,  # models that are newer than this table
    "claude-3-": 2048,
    "claude-3-7-": 1024,
    "claude-opus-4": 1024,
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-opus-4-7": 2048,
    "claude-opus-4-8": 1024,
    "claude-opus-5": 512,
    "claude-sonnet-4": 1024,
    "claude-sonnet-5": 1024,
    "claude-sonnet-5-5": 512,
    "claude-haiku-4-5": 4096,
    "claude-haiku-5-5": 512,
    "claude-fable-5": 512,
    "claude-mythos": 2048,
    "claude-mythos-5": 512,
}
"""The fewest tokens that a model caches, by the longest prefix of its name."""

MIN_TOKENS_AT_BEDROCK = {"claude-opus-4-7": 4096, "claude-mythos-preview": 4096}
"""Bedrock's own minimum, where it is higher."""


def cache_support(config: ProviderConfig, model_id: str) -> CacheSupport:
    """Returns what a model of a provider takes."""
    minimum = min_tokens(model_id, MIN_TOKENS)
    match config.provider_type:
        case ProviderType.OLLAMA:
            return CacheSupport()
        case ProviderType.ANTHROPIC:
            return CacheSupport(takes_marks=True, takes_hours=True, min_prefix_tokens=minimum)
        case ProviderType.BEDROCK:
            return _support_at_bedrock(model_id, minimum)
    takes_marks = config.provider_type in VENDORS and vendor_of(config).takes_cache_marks
    return CacheSupport(takes_marks, takes_marks, minimum if takes_marks else None)


def _support_at_bedrock(model_id: str, minimum: int | None) -> CacheSupport:
    from sekha_llm_bridge.providers.bedrock.models import family_of  # functions without Bedrock start faster

    family = family_of(model_id)
    if not family.takes_cache_points:
        return CacheSupport()
    higher = min_tokens(model_id, MIN_TOKENS_AT_BEDROCK)
    return CacheSupport(
        takes_marks=True,
        takes_hours=family.takes_hour_cache,
        min_prefix_tokens=(higher or minimum) if family.is_claude else None,
    )


def min_tokens(model_id: str, minimums: dict[str, int]) -> int | None:
    """Returns the minimum of a model of Claude; None for another. OpenRouter writes versions with a full stop."""
    _, found, rest = model_id.lower().replace(".", "-").partition(_NAME)
    name = found + rest
    prefixes = [prefix for prefix in minimums if found and name.startswith(prefix)]
    return minimums[max(prefixes, key=len)] if prefixes else None
