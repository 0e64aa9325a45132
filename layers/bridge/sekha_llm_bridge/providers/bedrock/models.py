"""What differs between the models that Bedrock serves, by the beginning of their ids.

Sources: Amazon Bedrock User Guide, "Inference request parameters and response fields for foundation models", "Adaptive
thinking", "Get validated JSON results from models", "Cross-Region inference", "Prompt caching for faster model
inference"; Amazon Nova User Guide, "Extended
thinking". That Converse takes `reasoning.effort` for OpenAI's GPT models and `reasoning_effort` for the open ones was
measured by others: stdapi-ai/stdapi.ai#283, langchain-ai/langchain-aws#1188.
"""

import re
from enum import Enum, auto
from typing import NamedTuple

# The prefixes of cross-region inference profiles. Not every word before a full stop is one: `meta.` is a vendor.
_GEOGRAPHIES = (
    *("us", "us-gov", "eu", "apac", "jp", "au", "ca", "in", "sa", "uk", "kr", "mx", "il", "me", "af", "global"),
)
_ARN_WITH_MODEL = r"arn:[a-z0-9-]+:bedrock:[a-z0-9-]*:\d*:(?:foundation-model|inference-profile)/(.+)"


class ReasoningStyle(Enum):
    """How a model is told how much to reason."""

    NONE = auto()
    """It is not: such a model does not reason, or always does."""

    CLAUDE_BUDGET = auto()
    """`thinking` with a budget of tokens."""

    CLAUDE_ADAPTIVE = auto()
    """`thinking` of type adaptive, and `output_config.effort`."""

    NOVA = auto()
    """`reasoningConfig.maxReasoningEffort`."""

    OPENAI_GPT = auto()
    """`reasoning.effort`."""

    FLAT = auto()
    """`reasoning_effort`."""


class ModelFamily(NamedTuple):
    """Models that are called in the same way. `pattern` matches the beginning of their ids without a region.

    `default_max_tokens` is sent where neither the request nor the configuration has an output limit. It is not the
    model's maximum, because Bedrock reserves that much of the account's quota. `has_output_schema`: the model takes
    `outputConfig.textFormat`. `takes_cache_points`: it takes marks for the cache; with `takes_hour_cache`, also for an
    hour.
    """

    pattern: str
    default_max_tokens: int = 4096
    reasoning: ReasoningStyle = ReasoningStyle.NONE
    has_output_schema: bool = False
    takes_cache_points: bool = False
    takes_hour_cache: bool = False

    @property
    def is_claude(self) -> bool:
        """Whether these are Anthropic's models."""
        return self.pattern.startswith("anthropic")

    @property
    def is_nova(self) -> bool:
        """Whether these are Amazon's Nova models."""
        return self.pattern.startswith(r"amazon\.nova")

    @property
    def is_mistral(self) -> bool:
        """Whether these are Mistral's models."""
        return self.pattern.startswith("mistral")


_BUDGET, _ADAPTIVE = ReasoningStyle.CLAUDE_BUDGET, ReasoningStyle.CLAUDE_ADAPTIVE
_CACHED_CLAUDE = ModelFamily("", has_output_schema=True, takes_cache_points=True, takes_hour_cache=True)
# The first match counts.
_FAMILIES = (
    ModelFamily(r"anthropic\.claude-3-5-(?:haiku|sonnet-20241022)", 4096, takes_cache_points=True),
    ModelFamily(r"anthropic\.claude-(?:v\d|instant|3-(?!7))", 4096),
    _CACHED_CLAUDE._replace(
        pattern=r"anthropic\.claude-(?:opus|sonnet|haiku)-4-5", default_max_tokens=16_384, reasoning=_BUDGET
    ),
    ModelFamily(
        r"anthropic\.claude-(?:3-7|(?:opus|sonnet)-4-(?:1-|2025))", 8192, reasoning=_BUDGET, takes_cache_points=True
    ),
    _CACHED_CLAUDE._replace(
        pattern=r"anthropic\.claude-(?:opus|sonnet)-4-6", default_max_tokens=16_384, reasoning=_ADAPTIVE
    ),
    _CACHED_CLAUDE._replace(pattern=r"anthropic\.", default_max_tokens=16_384, reasoning=_ADAPTIVE),
    ModelFamily(r"amazon\.nova-2", 8192, ReasoningStyle.NOVA, takes_cache_points=True),
    ModelFamily(r"amazon\.nova", 4096, takes_cache_points=True),
    ModelFamily(r"openai\.gpt-\d", 16_384, ReasoningStyle.OPENAI_GPT, has_output_schema=True),
    ModelFamily(r"openai\.", 8192, ReasoningStyle.FLAT, has_output_schema=True),
    ModelFamily(r"deepseek\.r1", 8192),
    ModelFamily(r"deepseek\.", 8000, ReasoningStyle.FLAT, has_output_schema=True),
    ModelFamily(r"moonshot(?:ai)?\.", 8192, ReasoningStyle.FLAT, has_output_schema=True),
    ModelFamily(r"(?:qwen|zai|minimax|google|nvidia)\.", 8000, has_output_schema=True),
    ModelFamily(r"mistral\.(?:ministral|magistral|devstral|voxtral|mistral-large-3)", 8000, has_output_schema=True),
    ModelFamily(r"mistral\.", 4096),
)
_OTHER_FAMILY = ModelFamily("")
HIDDEN_FAMILY = ModelFamily("arn:", takes_cache_points=True, takes_hour_cache=True)
"""Models whose id does not say which they are: application inference profiles, custom models."""


def base_model_id(model_id: str) -> str | None:
    """Returns the id of the foundation model behind an id, an ARN or a cross-region inference profile.

    None for other ARNs, which do not name the model.
    """
    if model_id.startswith("arn:"):
        found = re.fullmatch(_ARN_WITH_MODEL, model_id)
        if found is None:
            return None
        model_id = found[1]
    geography, _, rest = model_id.partition(".")
    return rest if geography in _GEOGRAPHIES and rest else model_id


def family_of(model_id: str) -> ModelFamily:
    """Returns the family of a model; `HIDDEN_FAMILY` where its id does not say which model it is."""
    base = base_model_id(model_id)
    if base is None:
        return HIDDEN_FAMILY
    return next((family for family in _FAMILIES if re.match(family.pattern, base)), _OTHER_FAMILY)
