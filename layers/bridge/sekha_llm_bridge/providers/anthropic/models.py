"""What Anthropic's models take and give, by the longest prefix of their names: a new model is a row here.

The adapter reads it only where it has to choose a form itself; what a model rejects of the caller's own, the model
says. Servers with other models get the forms that every version of the API has.

Sources: platform.claude.com, "Models overview", "Thinking", "Effort", "Structured outputs", and "What's new" of each
model; Anthropic's skill `claude-api`, "Thinking & Effort" and "Claude Model Catalog".
"""

from enum import Enum
from typing import NamedTuple

DEFAULT_MAX_OUTPUT_TOKENS = 4096
_NAME = "claude-"  # names of other clouds have something before it: `us.anthropic.claude-…`, `anthropic/claude-…`


class ThinkingMode(Enum):
    """How a model is told to think."""

    NONE = "none"
    """It cannot."""

    BUDGET = "enabled"
    """By a number of tokens, which is part of `max_tokens`."""

    ADAPTIVE = "adaptive"
    """It decides itself, by the effort."""


class ModelTraits(NamedTuple):
    """The properties of one family of models.

    `efforts` are the values of `output_config.effort`, from low to high. `off` is the type of `thinking` that turns it
    off; None: it cannot be turned off. `is_thinking_hidden`: the texts of its reasoning are empty unless they are
    requested. `takes_forced_tools`: it takes a `tool_choice` of type "any" or "tool". `is_claude`: it is Anthropic's,
    so the defaults of its sampling are known.
    """

    max_output_tokens: int
    thinking: ThinkingMode
    efforts: tuple[str, ...] = ()
    off: str | None = "disabled"
    has_structured_outputs: bool = True
    is_thinking_hidden: bool = False
    takes_forced_tools: bool = True
    takes_documents: bool = True
    is_claude: bool = True


_FOUR_EFFORTS = ("low", "medium", "high", "max")
_ALL_EFFORTS = ("low", "medium", "high", "xhigh", "max")

_OTHER_SERVER = ModelTraits(
    DEFAULT_MAX_OUTPUT_TOKENS, ThinkingMode.BUDGET, has_structured_outputs=False, is_claude=False
)
_CLAUDE_3 = ModelTraits(4096, ThinkingMode.NONE, has_structured_outputs=False, takes_documents=False)
_CLAUDE_3_5 = _CLAUDE_3._replace(max_output_tokens=8192, takes_documents=True)
_CLAUDE_3_7 = ModelTraits(64_000, ThinkingMode.BUDGET, has_structured_outputs=False)
_OPUS_4 = _CLAUDE_3_7._replace(max_output_tokens=32_000)
_CLAUDE_4_5 = ModelTraits(64_000, ThinkingMode.BUDGET)
_CLAUDE_4_6 = ModelTraits(128_000, ThinkingMode.ADAPTIVE, _FOUR_EFFORTS)
_CLAUDE_4_7 = ModelTraits(128_000, ThinkingMode.ADAPTIVE, _ALL_EFFORTS, is_thinking_hidden=True)
_ALWAYS_THINKING = _CLAUDE_4_7._replace(off=None)
_NO_FORCED_TOOLS = _CLAUDE_4_7._replace(takes_forced_tools=False)

_FAMILIES = {
    "claude-": _CLAUDE_4_7,  # models that are newer than this table
    "claude-2": _CLAUDE_3,
    "claude-instant": _CLAUDE_3,
    "claude-3-": _CLAUDE_3,
    "claude-3-5-": _CLAUDE_3_5,
    "claude-3-7-": _CLAUDE_3_7,
    "claude-4-opus": _OPUS_4,
    "claude-4-sonnet": _CLAUDE_3_7,
    "claude-opus-4": _OPUS_4,
    "claude-opus-4-5": _CLAUDE_4_5._replace(efforts=("low", "medium", "high")),
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _CLAUDE_4_7,
    "claude-opus-4-8": _CLAUDE_4_7,
    "claude-opus-5": _CLAUDE_4_7,
    "claude-opus-5-5": _NO_FORCED_TOOLS._replace(off=None),
    "claude-sonnet-4": _CLAUDE_3_7,
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-sonnet-4-6": _CLAUDE_4_6,
    "claude-sonnet-5": _CLAUDE_4_7,
    "claude-sonnet-5-5": _NO_FORCED_TOOLS._replace(off="between_tools"),
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-haiku-5-5": _CLAUDE_4_7,
    "claude-fable-5": _ALWAYS_THINKING,
    "claude-fable-5-": _NO_FORCED_TOOLS._replace(off=None),
    "claude-mythos": _ALWAYS_THINKING,
    "claude-mythos-5-": _NO_FORCED_TOOLS._replace(off=None),
}


def traits_of(model_id: str) -> ModelTraits:
    """Returns the traits of a model, those of the newest family for an unknown name with "claude-" in it, and cautious
    ones for the models of other servers.
    """
    _, found, rest = model_id.lower().partition(_NAME)
    name = found + rest
    prefixes = [prefix for prefix in _FAMILIES if name.startswith(prefix)]
    return _FAMILIES[max(prefixes, key=len)] if prefixes else _OTHER_SERVER
