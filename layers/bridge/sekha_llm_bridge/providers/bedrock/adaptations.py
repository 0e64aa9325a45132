"""Other forms of a request, for models that refuse what the bridge has chosen. See `providers/adaptation.py`.

The documentation lists the models that have structured output, `strict` tools or cache points, but lists grow old. A
model may also refuse a certain schema, a fifth cache point or a certain lifetime of the cache: such a refusal is not
remembered, because it says nothing about the requests of others.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import orjson

from sekha_llm_bridge.conversation import Conversation, WireFormat
from sekha_llm_bridge.errors import Failure
from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT, Adaptation, by_rejection
from sekha_llm_bridge.providers.bedrock.reasoning import REASONING_FIELDS
from sekha_llm_bridge.providers.bedrock.request import ChatBody, with_output_tool
from sekha_llm_bridge.providers.output_caps import LIMIT, named_limit


class ChatPayload(TypedDict):
    """A request to one model: its id and its body."""

    model: str
    body: ChatBody


def _schema_as_tool(payload: ChatPayload) -> ChatPayload | None:
    body = dict(payload["body"])
    config = body.pop("outputConfig", None)
    if config is None:
        return None
    schema = orjson.loads(config["textFormat"]["structure"]["jsonSchema"]["schema"])
    return {**payload, "body": with_output_tool(body, schema)}


def without_cache_points(body: ChatBody) -> ChatBody:
    """Returns the body without cache points: in its system prompt, its messages and its tools."""
    changed = dict(body)
    if "system" in body:
        changed["system"] = _without_marks(body["system"])
    changed["messages"] = [{**one, "content": _without_marks(one["content"])} for one in body["messages"]]
    if "toolConfig" in body:
        changed["toolConfig"] = {**body["toolConfig"], "tools": _without_marks(body["toolConfig"]["tools"])}
    return changed


def _unmarked(payload: ChatPayload) -> ChatPayload | None:
    changed = without_cache_points(payload["body"])
    return None if changed == payload["body"] else {**payload, "body": changed}


def _without_marks(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if "cachePoint" not in item]


def _with_default_lifetime(payload: ChatPayload) -> ChatPayload | None:
    """Drops the lifetimes of cache points: a model may know only the default."""
    body = _without_ttl(payload["body"])
    return None if body == payload["body"] else {**payload, "body": body}


def _without_ttl(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_ttl(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "cachePoint" in value:
        return {"cachePoint": {"type": "default"}}
    return {**value, **{name: _without_ttl(value[name]) for name in _HOLDERS_OF_POINTS if name in value}}


def _without_strict(payload: ChatPayload) -> ChatPayload | None:
    config = payload["body"].get("toolConfig", {"tools": []})
    if not any("strict" in tool.get("toolSpec", {}) for tool in config["tools"]):
        return None
    tools = [
        {**tool, "toolSpec": {name: value for name, value in tool["toolSpec"].items() if name != "strict"}}
        if "toolSpec" in tool
        else tool
        for tool in config["tools"]
    ]
    return {**payload, "body": {**payload["body"], "toolConfig": {**config, "tools": tools}}}


def _without_earlier_reasoning(payload: ChatPayload) -> ChatPayload | None:
    """Drops earlier reasoning: another model or account cannot read it."""
    messages: list[dict[str, Any]] = []
    for message in payload["body"]["messages"]:
        content = [one for one in message["content"] if "reasoningContent" not in one]
        if not content:
            continue
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1] = {**message, "content": [*messages[-1]["content"], *content]}
        else:
            messages.append({**message, "content": content})
    if messages == payload["body"]["messages"]:
        return None
    return {**payload, "body": {**payload["body"], "messages": messages}}


def _without_budget(payload: ChatPayload) -> ChatPayload | None:
    """Drops a budget for thinking: with one, Claude requires its own reasoning before the last calls."""
    fields = payload["body"].get("additionalModelRequestFields", {})
    if fields.get("thinking", {}).get("type") != "enabled":
        return None
    rest = {name: value for name, value in fields.items() if name != "thinking"}
    body = {name: value for name, value in payload["body"].items() if name != "additionalModelRequestFields"}
    return {**payload, "body": {**body, "additionalModelRequestFields": rest} if rest else body}


def _without_reasoning(payload: ChatPayload) -> ChatPayload | None:
    """Drops what tells the model to reason, where the caller has said that for another model."""
    fields = payload["body"].get("additionalModelRequestFields", {})
    rest = {name: value for name, value in fields.items() if name not in REASONING_FIELDS}
    if rest == fields:
        return None
    body = {name: value for name, value in payload["body"].items() if name != "additionalModelRequestFields"}
    return {**payload, "body": {**body, "additionalModelRequestFields": rest} if rest else body}


def _with_lower_limit(payload: ChatPayload, failure: Failure) -> ChatPayload | None:
    config = payload["body"].get("inferenceConfig", {})
    lower = named_limit(config.get("maxTokens", 0), failure)
    if lower is None:
        return None
    return {**payload, "body": {**payload["body"], "inferenceConfig": {**config, "maxTokens": lower}}}


_HOLDERS_OF_POINTS = ("system", "messages", "content", "toolConfig", "tools")
_NEVER = r"(?!)"
_OF_MODEL = r"^(?!.*\bttl\b).*(\bmodel\b|extra inputs|extraneous key)"

ADAPTATIONS = (
    Adaptation(r"\bexpected\W+thinking\b", _without_budget, pattern_of_model=_NEVER),
    Adaptation(
        r"\bsignature\b|redacted_?(thinking|content)|\bthinking\W+blocks?\b|reasoning_?content",
        _without_earlier_reasoning,
        pattern_of_model=_NEVER,
    ),
    Adaptation(
        r"output_?config|text_?format|json_?schema|structured output", _schema_as_tool, pattern_of_model=_OF_MODEL
    ),
    Adaptation(r"\bttl\b", _with_default_lifetime, pattern_of_model=_OF_MODEL),
    Adaptation(r"cache_?point|prompt caching|cache_control|\bttl\b", _unmarked, pattern_of_model=_OF_MODEL),
    Adaptation(r"\bstrict\b", _without_strict, pattern_of_model=_OF_MODEL),
)

_REASONING = Adaptation(
    r"reasoning|\bthinking\b|\beffort\b|output_config", _without_reasoning, leaves_out=REASONING_EFFORT
)


def chat_adaptations(conversation: Conversation) -> Sequence[Adaptation]:
    """Returns the other forms that a request may need. A hint about reasoning must not exclude a model."""
    is_anthropics = conversation.wire_format is WireFormat.ANTHROPIC
    is_hinted = conversation.effort_hint is not None or is_anthropics
    limits = (by_rejection(LIMIT, _with_lower_limit),) if is_anthropics else ()  # its clients must send one
    return (*ADAPTATIONS, *limits, _REASONING) if is_hinted else ADAPTATIONS
