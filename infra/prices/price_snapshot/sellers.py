"""The sellers of genai-prices that the snapshot includes, their addresses, and which prices hold in all regions.

Cost limits use these prices, so a seller is left out if its real price may be higher than the listed one.
"""

import re
from dataclasses import dataclass

from genai_prices.types import Provider

LEFT_OUT = {
    "cursor": "a subscription without an API for chat",
    "databricks": "more expensive in other regions than in the listed one",
    "elevenlabs": "bills realtime sessions by the minute",
    "github-copilot": "bills credits of a subscription",
    "modal": "sells machines by the second at the same addresses",
    "openai-decisions": "an API for decisions, at the address of openai",
    "typesafe": "an API for decisions",
    "zhipuai": "bills in CNY, and only the cheapest tier is listed",
}

# Replacements for expressions of genai-prices that match too much: hosts of other owners, general gateways
# (azure-api.net), sites that bill in CNY (moonshot.cn, minimaxi.com), and Vertex AI, whose regions cost more.
ADDRESSES = {
    "azure": r"https://[^./]+\.(?:openai\.azure\.com|cognitiveservices\.azure\.com|services\.ai\.azure\.com)",
    "google": r"https://generativelanguage\.googleapis\.com",
    "minimax": r"https://api\.minimax\.io",
    "moonshotai": r"https://api\.moonshot\.ai",
}

# Sellers whose prices are also used. genai-prices has more such fallbacks, but only OpenAI's prices hold at Azure.
ALSO = {"azure": ["openai"]}

# For these sellers, only models whose id matches have a price that holds in all regions. The other prices of Bedrock
# are those of us-east-1.
ALL_REGIONS = {"aws": re.compile(r"(?:global|regional)\.")}

_END_OF_PATH = re.compile(r"\((?:\?:)?/\|\$\)$")
_EXPRESSION = re.compile(r"(?<!\\)[.^$*+?{}()|\[\]]|\\\w")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an API: the start of its URLs, or a regular expression for it."""

    text: str
    is_expression: bool


def address(seller: Provider) -> Address:
    """Returns the address of the seller's API."""
    pattern = _END_OF_PATH.sub("", ADDRESSES.get(seller.id, seller.api_pattern))
    is_expression = _EXPRESSION.search(pattern) is not None
    return Address(pattern if is_expression else pattern.replace("\\", ""), is_expression)


def is_of_one_region(seller_id: str, model_id: str) -> bool:
    """Whether the listed price only holds in one region, and other regions may cost more."""
    return seller_id in ALL_REGIONS and ALL_REGIONS[seller_id].match(model_id) is None
