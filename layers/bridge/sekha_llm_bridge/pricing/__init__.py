"""Prices of models, and token counts before a provider has counted."""

from sekha_llm_bridge.pricing.book import PriceBook
from sekha_llm_bridge.pricing.images import image_tokens
from sekha_llm_bridge.pricing.price import Price, usd_text
from sekha_llm_bridge.pricing.token_texts import decode_token_arrays
from sekha_llm_bridge.pricing.tokenizer import Tokenizer, tokenizer_of
from sekha_llm_bridge.pricing.tokens import TokenCount, count_chat, count_texts, minimum_tokens_of_longest_text

__all__ = [
    "Price",
    "PriceBook",
    "TokenCount",
    "Tokenizer",
    "count_chat",
    "count_texts",
    "decode_token_arrays",
    "image_tokens",
    "minimum_tokens_of_longest_text",
    "tokenizer_of",
    "usd_text",
]
