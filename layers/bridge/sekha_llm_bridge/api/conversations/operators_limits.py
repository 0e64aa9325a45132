"""The limits that the configuration sets for every chat, where exceeding them is an error."""

from sekha_llm_bridge.api.conversations.features import uncounted_output_fields
from sekha_llm_bridge.config.models import RoutingConfig
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import InvalidRequest


def check_operators_limits(conversation: Conversation, routing: RoutingConfig) -> None:
    """Raises `InvalidRequest` for more answers than `max_n`, and for vendors' fields that would get round `max_n` or
    `max_output_tokens`. A longer answer than the latter is no error: the planner lowers it.
    """
    if routing.max_n is None and routing.max_output_tokens is None:
        return
    if fields := sorted(uncounted_output_fields(conversation)):
        limited = "this bridge limits the output of every request, and cannot see what this field asks for"
        raise InvalidRequest(f"{fields[0]}: {limited}; send `max_tokens` and `n`", param=fields[0])
    if routing.max_n is not None and conversation.n_choices > routing.max_n:
        limit = f"this bridge gives at most {routing.max_n} (`routing.max_n` of its configuration)"
        raise InvalidRequest(f"n: {conversation.n_choices} answers are too many; {limit}", param="n")
