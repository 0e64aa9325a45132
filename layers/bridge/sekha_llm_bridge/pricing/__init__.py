"""What a request costs: prices, and token counts before there are any."""

from sekha_llm_bridge.pricing.book import Price, PriceBook, usd_text
from sekha_llm_bridge.pricing.tokens import TokenCount, count_chat, count_texts, image_tokens, longest_text

__all__ = ["Price", "PriceBook", "TokenCount", "count_chat", "count_texts", "image_tokens", "longest_text", "usd_text"]
