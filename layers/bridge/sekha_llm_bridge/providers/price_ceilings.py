"""The highest prices that OpenRouter may charge: it chooses among several sellers of one model.

Source: OpenRouter's documentation, "Provider Routing"; its API reference, `MessagesRequest.provider`.
"""

from typing import Any

from sekha_llm_bridge.providers.calls import PriceCeiling


def with_max_price(payload: dict[str, Any], ceiling: PriceCeiling) -> dict[str, Any]:
    """Returns a request whose `provider` has a `max_price` of at most the ceiling and the caller's own prices."""
    provider = payload.get("provider")
    preferences: dict[str, Any] = provider if isinstance(provider, dict) else {}
    max_price = preferences.get("max_price")
    requested: dict[str, Any] = max_price if isinstance(max_price, dict) else {}
    prices = {"prompt": float(ceiling.input_usd_per_mtok), "completion": float(ceiling.output_usd_per_mtok)}
    for name, price in prices.items():
        if isinstance(requested.get(name), int | float):
            prices[name] = min(price, requested[name])
    return {**payload, "provider": {**preferences, "max_price": {**requested, **prices}}}


def is_openrouter(base_url: str | None) -> bool:
    """Returns whether an address is OpenRouter's, whatever the type of the provider."""
    return "//openrouter.ai" in (base_url or "") or "//api.openrouter.ai" in (base_url or "")
