"""The calls that adapters take. See `conversation` for requests and answers."""

from decimal import Decimal
from typing import NamedTuple

from sekha_llm_bridge.conversation import CacheLifetime, Conversation, Json, cache_marks_of


class PriceCeiling(NamedTuple):
    """The highest prices that a cost limit assumes, in USD per million tokens."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal


class ChatCall(NamedTuple):
    """One chat request to one model.

    `output_cap` is an output limit in tokens that the bridge adds because of a cost limit; None adds none.
    `max_output_tokens` is the most that the model can generate, by the configuration; None: not configured.
    `context_tokens` is the context size that prompt and answer need at most, `likely_context_tokens` one that is very
    probably enough (None: as large), `context_window` the model's own; None: not known. `price_ceiling` is set under a
    cost limit, for vendors that may charge different prices for the same model. `stream_options` are the caller's own.
    `marks_prefix`: the conversation has no cache mark, and the adapter adds one after the tools and the first system
    messages. `counts_first_form`: the tokens of the prompt are counted only in the form that is sent first, not in
    those that may follow a rejection.
    """

    model_id: str
    conversation: Conversation
    output_cap: int | None
    context_tokens: int
    price_ceiling: PriceCeiling | None = None
    max_output_tokens: int | None = None
    stream_options: Json | None = None
    context_window: int | None = None
    likely_context_tokens: int | None = None
    marks_prefix: bool = False
    counts_first_form: bool = False

    @property
    def asks_for_hour_cache(self) -> bool:
        """Whether a mark of the conversation asks for longer than the default of five minutes in the cache."""
        return cache_marks_of(self.conversation).lifetime >= CacheLifetime.HOUR

    @property
    def bounds_output(self) -> bool:
        """Whether the bridge relies on the output limit: it has lowered or chosen it, or a cost limit counts on it."""
        return self.output_cap is not None or self.price_ceiling is not None

    @property
    def output_limit(self) -> int | None:
        """The lowest of the caller's and the bridge's output limits, in tokens for each choice."""
        caps = [cap for cap in (self.conversation.max_output_tokens, self.output_cap) if cap is not None]
        return min(caps, default=None)
