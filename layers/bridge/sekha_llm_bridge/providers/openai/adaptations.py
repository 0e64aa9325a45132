"""The other forms of requests in OpenAI's format. See `AdaptedRequests`.

The bridge adds fields (`stream_options`, `encoding_format`) and renames one (`max_tokens`). Messages may have what the
bridge itself gave out (`reasoning_content`, `content: null`), and what only OpenAI has (role `developer`).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from sekha_llm_bridge.conversation import Conversation, WireFormat
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.adaptation import REASONING_EFFORT, Adaptation, by_rejection
from sekha_llm_bridge.providers.cache_control import CACHE_ADAPTATIONS
from sekha_llm_bridge.providers.openai.tool_schemas import without_constraints, without_unknown_keywords
from sekha_llm_bridge.providers.output_caps import limit_adaptations
from sekha_llm_bridge.providers.system_messages import SYSTEM_ROLES, with_system_as_user

Payload = dict[str, Any]

# Source: ai.google.dev, "Thought signatures".
_UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}

OUTPUT_CAP_FIELDS = ("max_completion_tokens", "max_tokens")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
_N_ID_CHARACTERS = 9  # Mistral's ids have exactly nine letters and digits; OpenAI's have at most 40
_AFTER_RESULTS = {"role": "assistant", "content": "I have read the results."}


def _without_stream_options(payload: Payload) -> Payload | None:
    """Drops only what the bridge has added; other options are the caller's."""
    if (payload.get("stream_options") or {}).keys() != {"include_usage"}:
        return None
    return {name: value for name, value in payload.items() if name != "stream_options"}


def _with_other_output_cap(payload: Payload) -> Payload | None:
    for field, other in (OUTPUT_CAP_FIELDS, OUTPUT_CAP_FIELDS[::-1]):
        if field in payload and other not in payload:
            return {other if name == field else name: value for name, value in payload.items()}
    return None


def _without_encoding_format(payload: Payload) -> Payload | None:
    return _without_field(payload, "encoding_format")


def _changed_messages(payload: Payload, change: Callable[[Payload], Payload]) -> Payload | None:
    messages = payload.get("messages")
    if not isinstance(messages, list):
        return None
    changed = [change(message) for message in messages]
    return None if changed == messages else {**payload, "messages": changed}


def _with_system_messages(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {**message, "role": "system"} if message.get("role") == "developer" else message
    )


def _with_system_at_beginning(payload: Payload) -> Payload | None:
    """Makes later system messages the user's, in tags: some chat templates take them only before all others."""
    messages = payload.get("messages") or []
    n_leading = next((n for n, one in enumerate(messages) if one.get("role") not in SYSTEM_ROLES), len(messages))
    changed = with_system_as_user(messages, n_leading=n_leading)
    return None if changed == messages else {**payload, "messages": changed}


def _with_content_as_text(payload: Payload) -> Payload | None:
    """Joins the texts of each message that has nothing else: some servers take no parts, or only from the user."""
    return _changed_messages(payload, _with_joined_texts)


def _with_joined_texts(message: Payload) -> Payload:
    parts = message.get("content")
    if not isinstance(parts, list) or not parts or any(part.get("type") != "text" for part in parts):
        return message
    return {**message, "content": "\n".join(part["text"] for part in parts)}


def _without_reasoning(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {name: value for name, value in message.items() if name not in _REASONING_FIELDS}
    )


def _with_some_reasoning(payload: Payload) -> Payload | None:
    """Adds reasoning to earlier answers that have none, for models that require some: another model has given them."""
    return _changed_messages(
        payload,
        lambda message: {"reasoning_content": " ", **message} if message.get("role") == "assistant" else message,
    )


def _with_answers_after_results(payload: Payload) -> Payload | None:
    """Adds an answer between results and the user's next words: Mistral's models require one there."""
    messages: list[Payload] = []
    for message in payload.get("messages") or ():
        if messages and messages[-1].get("role") == "tool" and message.get("role") == "user":
            messages.append(_AFTER_RESULTS)
        messages.append(message)
    return None if messages == payload.get("messages") else {**payload, "messages": messages}


def _with_only_the_named_tool(payload: Payload) -> Payload | None:
    """Requires a call of the one tool that there is, for servers whose `tool_choice` is a word."""
    choice = payload.get("tool_choice")
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    tools = [tool for tool in payload.get("tools") or () if (tool.get("function") or {}).get("name") == name]
    return {**payload, "tools": tools, "tool_choice": "required"} if name and tools else None


def _with_short_call_ids(payload: Payload) -> Payload | None:
    return _changed_messages(payload, _with_short_ids)


def _with_short_ids(message: Payload) -> Payload:
    calls = [
        {**call, "id": _short_id(call["id"])} if call.get("id") else call for call in message.get("tool_calls") or ()
    ]
    changed = {**message, "tool_calls": calls} if calls else message
    call_id = message.get("tool_call_id")
    return {**changed, "tool_call_id": _short_id(call_id)} if call_id else changed


def _short_id(call_id: str) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()[:_N_ID_CHARACTERS]


def _with_signatures_of_calls(payload: Payload) -> Payload | None:
    """Adds to earlier calls what Gemini takes in place of its own signature, where there is none: the call is another
    vendor's, or its inbound API has no place for the signature.
    """
    return _changed_messages(payload, _with_signed_calls)


def _with_signed_calls(message: Payload) -> Payload:
    calls = message.get("tool_calls") or []
    if all("extra_content" in call for call in calls):
        return message
    return {**message, "tool_calls": [{"extra_content": _UNSIGNED, **call} for call in calls]}


def _without_effort(payload: Payload) -> Payload | None:
    return _without_field(payload, "reasoning_effort") if payload.get("reasoning_effort") != "none" else None


def _without_no_effort(payload: Payload) -> Payload | None:
    return _without_field(payload, "reasoning_effort") if payload.get("reasoning_effort") == "none" else None


def _without_top_k(payload: Payload) -> Payload | None:
    return _without_field(payload, "top_k")


def _without_min_p(payload: Payload) -> Payload | None:
    return _without_field(payload, "min_p")


def _without_field(payload: Payload, field: str) -> Payload | None:
    return {name: value for name, value in payload.items() if name != field} if field in payload else None


def _with_text_in_every_message(payload: Payload) -> Payload | None:
    return _changed_messages(
        payload, lambda message: {**message, "content": ""} if message.get("content") is None else message
    )


# Only where the field itself is not known: another field would lift a limit that is merely too high.
_UNKNOWN_OUTPUT_CAP = (
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra)\W+(?:\w+\W+){0,2}"
    r"(?:parameter|argument|field|name|property|input)s?\b[^.]{0,30}max_(?:completion_)?tokens"
    r"|max_(?:completion_)?tokens\W{1,3}(?:extra (?:inputs|fields)"
    r"|(?:is|are) not (?:supported|permitted|recogni[sz]ed)\b)"
)

# Sources: DeepSeek's and Moonshot's errors.
_NO_REASONING = (
    r"\breasoning_content\b.{0,80}\b(?:missing|required|passed back)|\bmissing\b.{0,40}\breasoning_content\b"
)

CHAT_ADAPTATIONS = (
    Adaptation(r"thought_?signature", _with_signatures_of_calls),
    Adaptation(r"stream_?options|include_usage", _without_stream_options),
    Adaptation(_UNKNOWN_OUTPUT_CAP, _with_other_output_cap, frozenset({FailureKind.CANDIDATE_UNSUITABLE})),
    Adaptation(_NO_REASONING, _with_some_reasoning),
    Adaptation(r"\breasoning|\bthinking", _without_reasoning),
    Adaptation(r"\bdeveloper\b|\broles?\b", _with_system_messages),
    *CACHE_ADAPTATIONS,
    Adaptation(r"\bcontent\b", _with_text_in_every_message),
)
_EFFORT = r"\breasoning[ _.]?effort|\befforts?\b"
EFFORT_ADAPTATIONS = (
    Adaptation(_EFFORT, _without_effort, leaves_out=REASONING_EFFORT),
    Adaptation(_EFFORT, _without_no_effort, leaves_out=REASONING_EFFORT),  # few models take `none`
)
"""For requests with an effort that the bridge has chosen (`Conversation.effort_hint`)."""

_CONSTRAINTS = "constraints of tools' schemas"
_NEVER = r"(?!)"  # other schemas may be taken
_LONG_CALL_ID = r"tool[_ ]?calls?\W{0,3}\w{0,3}\W{0,3}id\b.{0,120}\b(?:length|long)\b"
_OTHER_FORMATS = (
    *EFFORT_ADAPTATIONS,
    Adaptation(r"\bverbosity\b", lambda payload: _without_field(payload, "verbosity"), leaves_out="verbosity"),
    Adaptation(r"\btop_k\b", _without_top_k, leaves_out="top_k"),  # other formats have these two, OpenAI itself has not
    Adaptation(r"\bmin_p\b", _without_min_p, leaves_out="min_p"),
    Adaptation(r"\bsystem\b.{0,40}\bmessage|\broles?\b|\btemplate\b", _with_system_at_beginning),
    Adaptation(r"\bafter role\W+tool\b", _with_answers_after_results),
    Adaptation(r"\btool_choice\b", _with_only_the_named_tool),
    Adaptation(_LONG_CALL_ID, _with_short_call_ids),
    Adaptation(
        r"\bparse grammar\b|\bschema conversion\b",
        without_constraints,
        pattern_of_model=_NEVER,
        leaves_out=_CONSTRAINTS,
    ),
    by_rejection(r"\bunknown name\b", without_unknown_keywords, leaves_out="keywords of tools' schemas"),
    Adaptation(r"\bcontent\b|\bexpected a string|\binvalid type\b", _with_content_as_text),
    *CHAT_ADAPTATIONS,
)


def chat_adaptations(conversation: Conversation) -> Sequence[Adaptation]:
    """Returns the other forms that a request may need. One of another inbound API has more that is the bridge's."""
    if conversation.wire_format is WireFormat.OPENAI_CHAT:
        return CHAT_ADAPTATIONS
    return (*limit_adaptations(conversation, *OUTPUT_CAP_FIELDS), *_OTHER_FORMATS)


EMBEDDING_ADAPTATIONS = (Adaptation(r"encoding_?format", _without_encoding_format),)
