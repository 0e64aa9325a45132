"""Builds requests in OpenAI's format for one vendor."""

from typing import Any

from sekha_llm_bridge.providers.base import ChatCall, EmbeddingCall, PriceCeiling
from sekha_llm_bridge.providers.openai.adaptations import OUTPUT_CAP_FIELDS
from sekha_llm_bridge.providers.openai.vendors import Vendor

_EMPTY_LISTS_ARE_NONE = ("tools", "functions")  # some servers reject an empty list


def chat_payload(call: ChatCall, vendor: Vendor) -> dict[str, Any]:
    """Returns the body of a chat request: the caller's, with the model, the output limit and the price ceiling.

    The lowest of all output limits is sent, in the vendor's own field: it may ignore or reject another one.
    """
    payload = {**call.request, "model": call.model_id}
    for field in _EMPTY_LISTS_ARE_NONE:
        if payload.get(field) == []:
            del payload[field]
    if any(message.get("tool_calls") == [] for message in payload.get("messages") or ()):
        payload["messages"] = [_without_empty_calls(message) for message in payload["messages"]]
    caps = [payload.pop(field, None) for field in OUTPUT_CAP_FIELDS]
    if known_caps := [cap for cap in (*caps, call.output_cap) if cap is not None]:
        payload[vendor.output_cap_field] = min(known_caps)
    if call.price_ceiling is not None and vendor.accepts_price_ceiling:
        payload["provider"] = _with_max_price(payload.get("provider"), call.price_ceiling)
    return payload


def _without_empty_calls(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "tool_calls" or value != []}


def _with_max_price(provider: object, ceiling: PriceCeiling) -> dict[str, Any]:
    """Returns OpenRouter's `provider` object with a `max_price` of at most the ceiling and the caller's own prices.

    Source: OpenRouter's documentation, "Provider Routing".
    """
    preferences: dict[str, Any] = provider if isinstance(provider, dict) else {}
    max_price = preferences.get("max_price")
    requested: dict[str, Any] = max_price if isinstance(max_price, dict) else {}
    prices = {"prompt": float(ceiling.input_usd_per_mtok), "completion": float(ceiling.output_usd_per_mtok)}
    for name, price in prices.items():
        if isinstance(requested.get(name), int | float):
            prices[name] = min(price, requested[name])
    return {**preferences, "max_price": {**requested, **prices}}


def embedding_payload(call: EmbeddingCall) -> dict[str, Any]:
    """Returns the body of an embeddings request. Optional fields are left out, because some vendors reject null; fields
    that the bridge does not know are sent as they are.
    """
    optional = {"dimensions": call.dimensions, "user": call.user}
    return {
        **call.vendor_fields,
        "model": call.model_id,
        "input": list(call.texts),
        "encoding_format": "float",
        **{key: value for key, value in optional.items() if value is not None},
    }
