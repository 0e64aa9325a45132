"""Which sellers of genai-prices are taken over, where their APIs are, and which of their prices hold everywhere.

A cost limit is computed from these prices, so a seller whose real price may be above the listed one is left out.
"""

import re
from dataclasses import dataclass

from genai_prices.types import Provider

LEFT_OUT = {
    "cursor": "a subscription without an API for chat",
    "databricks": "dearer in other regions than the one that is listed",
    "elevenlabs": "bills realtime sessions by the minute",
    "github-copilot": "bills credits of a subscription",
    "modal": "sells machines by the second at the same addresses",
    "openai-decisions": "an API for decisions, at the address of openai",
    "typesafe": "an API for decisions",
    "zhipuai": "bills in CNY, and only its cheapest tier is listed",
}

# Where genai-prices' own expressions are too loose: they also take hosts of other people, gateways to anything
# (azure-api.net), sites that bill in CNY (moonshot.cn, minimaxi.com), and Vertex AI, whose regions are dearer.
ADDRESSES = {
    "azure": r"https://[^./]+\.(?:openai\.azure\.com|cognitiveservices\.azure\.com|services\.ai\.azure\.com)",
    "google": r"https://generativelanguage\.googleapis\.com",
    "minimax": r"https://api\.minimax\.io",
    "moonshotai": r"https://api\.moonshot\.ai",
}

# genai-prices falls back to further sellers; OpenAI's own prices hold at Azure, those of the others need not.
ALSO = {"azure": ["openai"]}

# Of Bedrock's models only those that name their place; the other prices are those of one region, us-east-1.
PLACED = {"aws": re.compile(r"(?:global|regional)\.")}

_END_OF_PATH = re.compile(r"\((?:\?:)?/\|\$\)$")
_EXPRESSION = re.compile(r"(?<!\\)[.^$*+?{}()|\[\]]|\\\w")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an API is: the start of its URLs, or an expression for that."""

    text: str
    is_expression: bool


def address(seller: Provider) -> Address:
    """Where the seller's API is."""
    pattern = _END_OF_PATH.sub("", ADDRESSES.get(seller.id, seller.api_pattern))
    is_expression = _EXPRESSION.search(pattern) is not None
    return Address(pattern if is_expression else pattern.replace("\\", ""), is_expression)


def is_of_one_region(seller_id: str, model_id: str) -> bool:
    """Whether the listed price is that of one region, and others may be dearer."""
    return seller_id in PLACED and PLACED[seller_id].match(model_id) is None
