"""What a request asks for that only Anthropic's API has, besides its tools and blocks."""

from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.providers import RequestedFeature, RequestFeature

_ONLY_ANTHROPICS = ("mcp_servers", "container", "compaction")


def own_features(conversation: Conversation) -> frozenset[RequestedFeature]:
    """Returns the features that the top-level fields request."""
    sent = [name for name in _ONLY_ANTHROPICS if conversation.vendor_fields.get(name)]
    if conversation.max_output_tokens == 0:  # writes the prompt to the cache
        sent.append("max_tokens: 0")
    return frozenset(RequestedFeature(RequestFeature.ANTHROPIC_CONTENT, name) for name in sent)
