"""What a chat request asks for beyond plain text, in the planner's terms: what some providers cannot do, or nobody
can bound.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from sekha_llm_bridge.api.chat.request import ChatMessage, ChatRequest
from sekha_llm_bridge.providers.ollama.request import TRANSLATED_FIELDS

# Fields whose absence would change the answer, and which only OpenAI's own format can carry.
_OPENAI_ONLY = ("audio", "functions", "logit_bias", "logprobs", "prediction", "top_logprobs", "web_search_options")
_ON_WHEN_EMPTY = frozenset({"audio", "prediction", "web_search_options"})
# Fields that may be left out without changing the answer.
_HARMLESS = frozenset({"metadata", "n", "parallel_tool_calls", "prompt_cache_key", "safety_identifier"}) | frozenset(
    {"function_call", "service_tier", "store", "user"}
)
# Fields that change what a provider bills in no way but by the tokens that are counted. Any other may name documents to
# read, other models to ask, searches to make: nobody can bound that beforehand.
_BOUNDED = frozenset(
    {
        *("functions", "function_call", "parallel_tool_calls", "logit_bias", "metadata", "modalities", "service_tier"),
        *("user", "safety_identifier", "prompt_cache_key", "store", "verbosity", "documents", "provider", "transforms"),
        *("reasoning", "reasoning_effort", "include_reasoning", "thinking", "enable_thinking", "think", "keep_alive"),
        *("top_k", "top_a", "min_p", "typical_p", "repetition_penalty", "length_penalty", "stop_token_ids", "usage"),
        *("ignore_eos", "min_tokens", "skip_special_tokens", "chat_template_kwargs", "prompt_truncate_len", "grammar"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "safe_prompt"),
    }
)
_PLAIN_TIERS = frozenset({None, "auto", "default", "flex"})
_PLAIN_TOOLS = frozenset({"function", "custom"})  # others search, or run code, and bill that
_PLAIN_PARTS = frozenset({"text", "image_url", "refusal"})


def openai_only_features(asked: ChatRequest) -> frozenset[str]:
    """What only a provider that speaks OpenAI's own format can do."""
    return frozenset(_untranslatable(asked))


def _untranslatable(asked: ChatRequest) -> Iterator[str]:
    yield from (name for name in _OPENAI_ONLY if _is_set(asked, name))
    if (asked.n or 1) > 1:
        yield "n > 1"
    if asked.tools and (isinstance(asked.tool_choice, dict) or asked.tool_choice == "required"):
        yield "forced tool_choice"
    if asked.tools and _field(asked, "parallel_tool_calls") is False:
        yield "parallel_tool_calls: false"
    if asked.response_format and asked.response_format.type not in {"text", "json_object", "json_schema"}:
        yield f"response_format {asked.response_format.type}"
    if any(tool.type != "function" for tool in asked.tools or ()):
        yield "tools that are no functions"
    yield from (f"content of type {kind}" for kind in _kinds(asked.messages) - {"text", "image_url"})
    if not all(_plain_history(message) for message in asked.messages):
        yield "such a history of calls"


def _plain_history(message: ChatMessage) -> bool:
    """Whether a message's calls are of functions, with arguments that are JSON objects."""
    if message.role == "function" or (message.model_extra or {}).get("function_call"):
        return False
    return all(call.function is not None and _is_object(call.function.arguments) for call in message.tool_calls or ())


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text or "{}"), dict)
    except orjson.JSONDecodeError:
        return False


def uses_audio(asked: ChatRequest) -> bool:
    """Whether sound goes in or is to come out."""
    return "input_audio" in _kinds(asked.messages) or "audio" in _modalities(asked)


def features_with_unbounded_cost(asked: ChatRequest) -> frozenset[str]:
    """What may be billed beyond any count made beforehand; a cost limit excludes it."""
    found = {name for name in (asked.model_extra or {}).keys() - _BOUNDED if _is_set(asked, name)}
    found |= _modalities(asked) - {"text"}
    found |= {f"a tool of type {tool.type}" for tool in asked.tools or () if tool.type not in _PLAIN_TOOLS}
    found |= {f"content of type {kind}" for kind in _kinds(asked.messages) - _PLAIN_PARTS}
    found |= {what for message in asked.messages for what in _beyond_its_text(message)}
    if _field(asked, "service_tier") not in _PLAIN_TIERS:
        found.add("service_tier")
    return frozenset(found)


def _beyond_its_text(message: ChatMessage) -> Iterator[str]:
    """What a message refers to that is not in it, and a cache that costs more than the price list says."""
    if (message.model_extra or {}).get("audio"):
        yield "audio"
    for holder in (message, *message.parts):
        kept = (holder.model_extra or {}).get("cache_control")
        if kept and not (isinstance(kept, dict) and kept.get("ttl") in {None, "5m"}):
            yield "cache_control"


def fields_without_equivalent(sent: Mapping[str, Any]) -> list[str]:
    """Fields that ask for something that the bridge does not know, and for which Ollama's format has no place."""
    # `function_call` says something only beside `functions`, which exclude Ollama.
    said = {name for name, value in sent.items() if value not in (None, False, [], {}, ["text"])}
    return sorted(said - TRANSLATED_FIELDS - _HARMLESS)


def _kinds(messages: Iterable[ChatMessage]) -> frozenset[str]:
    return frozenset(part.type for message in messages for part in message.parts)


def _modalities(asked: ChatRequest) -> frozenset[str]:
    """The forms in which the answer may come."""
    wanted = _field(asked, "modalities")
    return frozenset(map(str, wanted)) if isinstance(wanted, list) else frozenset()


def _field(asked: ChatRequest, name: str) -> Any:
    extra: Mapping[str, Any] = asked.model_extra or {}
    return extra[name] if name in extra else vars(asked).get(name)


def _is_set(asked: ChatRequest, name: str) -> bool:
    """Whether a field asks for anything; for some an empty object does."""
    value = _field(asked, name)
    return bool(value) or (value == {} and name in _ON_WHEN_EMPTY)
